"""What does the engine add to an action? A thousand actions that do nothing but write one small file.

Half of them read the output of another. Cold (empty cache) and cached, as medians of the time for one action.

    python benchmarks/overhead.py [--actions 1000] [--jobs 2] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.pool import Pool
from sprue.engine.run import run
from sprue.machine import fingerprint


def null(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    (out / "file").write_text(str(params["number"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--actions", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cold, cached = zip(
        *(_once(arguments.actions, arguments.jobs) for _ in range(arguments.rounds)), strict=True
    )
    print(f"{fingerprint()}; {arguments.actions} actions, -j{arguments.jobs}, medians of {arguments.rounds}")
    print(f"  cold   {statistics.median(cold) / arguments.actions * 1e3:6.2f} ms an action")
    print(f"  cached {statistics.median(cached) / arguments.actions * 1e3:6.2f} ms an action")


def _once(count: int, jobs: int) -> tuple[float, float]:
    actions = [_action(number) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder, Pool(jobs, 1) as pool:
        cache = Cache(Path(folder))
        run([Action("warm-up", "overhead:null", 1, {"number": -n}) for n in range(1)], cache, pool)
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            outcomes = run(actions, cache, pool)
            seconds.append(time.perf_counter() - started)
            assert all(o.entry is not None for o in outcomes.values())
    return seconds[0], seconds[1]


def _action(number: int) -> Action:
    inputs = {"before": Output(f"null/{number - 1}")} if number % 2 else {}
    return Action(f"null/{number}", "overhead:null", 1, {"number": number}, inputs)


if __name__ == "__main__":
    main()
