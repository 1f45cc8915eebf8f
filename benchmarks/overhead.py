"""What does the engine add to an action? A thousand actions that do nothing but write one small file.

Half of them read the output of another. Cold (empty cache) and cached, as medians of the time for one action.
"of CPU" is what all processes of the build used together: with two jobs on two idle cores the time is about
half of it; on a busy machine it is the only figure that means something. "bare" is a loop that creates,
writes and renames the two files that an action leaves in the cache, and does nothing else.

    python benchmarks/overhead.py [--actions 1000] [--jobs 2] [--rounds 3] [--folder DIR]

The caches are made in DIR, by default the user's cache folder, and removed after the last round: where many
files were removed a moment ago (as in /tmp, mostly), some file systems create new ones many times slower.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.pool import Pool
from sprue.engine.run import run
from sprue.machine import fingerprint

AIM = 1.0
"""Milliseconds an action, cold."""


class Spent(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def null(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    (out / "file").write_text(str(params["number"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--actions", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    place = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    parser.add_argument("--folder", type=Path, default=place)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="sprue-overhead-") as folder:
        rounds = [_once(Path(folder, str(n)), given.actions, given.jobs) for n in range(given.rounds)]
    print(f"{fingerprint()}; load {load:.1f}")
    print(f"{given.actions} actions, -j{given.jobs}, medians of {given.rounds}")
    for name in rounds[0]:
        wall, cpu = (statistics.median(r[name][i] for r in rounds) / given.actions * 1e3 for i in (0, 1))
        aim = f"  (aim: at most {AIM:g})" if name == "cold" else ""
        print(f"  {name:6} {wall:6.2f} ms an action, {cpu:5.2f} ms of CPU{aim}")


def _once(folder: Path, count: int, jobs: int) -> dict[str, Spent]:
    bare = folder / "bare"
    bare.mkdir(parents=True)
    actions = [_action(number) for number in range(count)]
    spent = {"bare": _timed(lambda: _bare(bare, count))}
    with Pool(jobs, 1) as pool:
        cache = Cache(folder / "cache")
        warm = [Action(f"warm-up/{n}", "overhead:null", 1, {"number": -n - 1}) for n in range(4 * jobs)]
        run(warm, cache, pool)
        for name in ("cold", "cached"):
            spent[name] = _timed(lambda: _run(actions, cache, pool))
    return spent


def _run(actions: list[Action], cache: Cache, pool: Pool) -> None:
    assert all(o.entry is not None for o in run(actions, cache, pool).values())


def _bare(folder: Path, count: int) -> None:
    for number in range(2 * count):
        written = folder / "written"
        written.write_bytes(bytes(500))
        written.rename(folder / str(number))


def _timed(task: Callable[[], None]) -> Spent:
    started, used = time.perf_counter(), _cpu()
    task()
    return Spent(time.perf_counter() - started, _cpu() - used)


def _cpu() -> float:
    """Seconds of processor time of this process and of the children that it has now."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    fields = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split() for child in children]
    ticks = sum(int(f[11]) + int(f[12]) for f in fields)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _action(number: int) -> Action:
    inputs = {"before": Output(f"null/{number - 1}")} if number % 2 else {}
    return Action(f"null/{number}", "overhead:null", 1, {"number": number}, inputs)


if __name__ == "__main__":
    main()
