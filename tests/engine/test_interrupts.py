"""A build that is stopped leaves nothing torn and nobody running, and the next one goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.engine.cache import Cache
from tests.thinning import thinned

pytestmark = pytest.mark.slow

BUILD = Path(__file__).with_name("build_graph.py")


def start(cache: Path, seed: int, seconds: float = 0.0) -> subprocess.Popen[str]:
    """In a process group of its own, as a shell starts it; found again by its cache's path."""
    return subprocess.Popen(
        [sys.executable, str(BUILD), str(cache), str(seed), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env={**os.environ, "SPRUE_TEST": str(cache)},
    )


def finished(build: subprocess.Popen[str]) -> str:
    out, err = build.communicate(timeout=60)
    assert build.returncode == 0, err
    return out


def running(cache: Path) -> list[int]:
    """The processes that a build in `cache` started and that still run."""
    mark = f"SPRUE_TEST={cache}\0".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (
                mark in (place / "environ").read_bytes()
                and (place / "stat").read_text().split(") ")[1][0] != "Z"
            ):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def until(true: Callable[[], bool]) -> bool:
    """Whether it comes true. That it comes soon is not asked here: the machine may be busy."""
    end = time.monotonic() + 60
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def all_gone(cache: Path) -> bool:
    return until(lambda: not running(cache))


def assert_nothing_torn(folder: Path) -> None:
    """Every entry is whole with all its blobs, and files that are not are in work/ only."""
    cache = Cache(folder)
    for path in (cache.folder / "actions").rglob("*.json"):
        assert cache.find(path.stem) is not None
    assert not [p for part in ("actions", "blobs") for p in (cache.folder / part).rglob(".tmp-*")]


@pytest.mark.parametrize(
    "after", [0.25, *(pytest.param(t, marks=pytest.mark.slow) for t in (0.0, 0.05, 0.5))]
)
def test_ctrl_c_stops_a_build_at_once_and_the_next_one_goes_on(tmp_path: Path, after: float) -> None:
    folder = tmp_path / "cache"
    build = start(folder, 1, 0.2)
    assert build.stdout is not None
    assert build.stdout.readline() == "pool\n"
    time.sleep(after)
    pressed = time.monotonic()
    os.killpg(build.pid, signal.SIGINT)
    _, err = build.communicate(timeout=60)
    print(f"\nstopped after {time.monotonic() - pressed:.2f} s (aim: 2)")
    assert build.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert all_gone(folder)
    work = Cache(folder).folder / "work"
    assert not work.exists() or list(work.iterdir()) == []
    assert_nothing_torn(folder)
    assert finished(start(folder, 1, 0.2)) == finished(start(tmp_path / "undisturbed", 1))


@pytest.mark.parametrize(
    "how",
    [signal.SIGKILL, *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGTERM, signal.SIGHUP))],
)
def test_a_killed_build_takes_its_busy_workers_with_it(tmp_path: Path, how: signal.Signals) -> None:
    folder = tmp_path / "cache"
    build = start(folder, 1, 30.0)
    assert build.stdout is not None
    assert build.stdout.readline() == "pool\n"
    assert until(lambda: len(running(folder)) > 1)
    os.kill(build.pid, how)
    build.communicate(timeout=60)
    assert build.returncode == -how
    assert all_gone(folder)


def killed_and_resumed(folder: Path, seed: int, most: int) -> int:
    """Build with kill -9 at random moments, `most` times or until one gets through; how many were killed."""
    rng = random.Random(seed)
    undisturbed = finished(start(folder / "undisturbed", seed))
    cache = folder / "cache"
    killed = 0
    for count in range(most):
        build = start(cache, seed, 0.05)
        time.sleep(rng.uniform(0.1, 0.4 + 0.1 * count))
        if build.poll() is None:
            os.kill(build.pid, signal.SIGKILL)
        build.communicate(timeout=60)
        if cache.exists():
            assert_nothing_torn(cache)
        if build.returncode == 0:
            break
        killed += 1
    assert finished(start(cache, seed, 0.05)) == undisturbed
    assert all_gone(cache)
    assert list((Cache(cache).folder / "work").iterdir()) == []
    return killed


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_build_that_was_killed_and_resumed_makes_the_same(tmp_path: Path, seed: int) -> None:
    assert killed_and_resumed(tmp_path, seed, 3) > 0


@pytest.mark.slow
def test_builds_that_are_killed_again_and_again_make_the_same(tmp_path: Path) -> None:
    seeds = thinned(range(2, 22), 5)
    killed = sum(killed_and_resumed(tmp_path / str(seed), seed, 50) for seed in seeds)
    print(f"{killed} kills in {len(seeds)} builds, none left anything wrong")
    assert killed >= len(seeds)


@pytest.mark.parametrize("builds", [2, pytest.param(16, marks=pytest.mark.slow)])
def test_builds_at_the_same_time_in_one_new_cache_make_the_same(tmp_path: Path, builds: int) -> None:
    folder = tmp_path / "cache"
    together = [start(folder, 3) for _ in range(builds)]
    made = {finished(b) for b in together}
    assert made == {finished(start(tmp_path / "other", 3))}
    assert_nothing_torn(folder)
    assert list((Cache(folder).folder / "work").iterdir()) == []
