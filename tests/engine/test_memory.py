"""The memory budget: the worker that uses the most is ended, and named, before the system runs out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sprue.engine.action import Action
from sprue.engine.cache import Cache
from sprue.engine.memory import default_budget, resident
from sprue.engine.pool import Pool
from sprue.engine.run import run

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is only looked at on Linux"
)
HOG = """
import time

def hog(inputs, params, out):
    kept = bytearray(params["bytes"])
    time.sleep(params["seconds"])
    (out / "size").write_text(str(len(kept)))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "hog.py").write_text(HOG)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    return Cache(tmp_path / "cache")


def hog(name: str, size: int, seconds: float) -> Action:
    return Action(name, "hog:hog", 1, {"bytes": size, "seconds": seconds})


def test_an_action_beyond_the_budget_is_ended_and_named_and_the_others_finish(cache: Cache) -> None:
    with Pool(2, 1, memory=300 * 2**20) as pool:
        outcomes = run([hog("large", 600 * 2**20, 30), hog("small", 2**20, 0.5)], cache, pool)
    assert outcomes["small"].state == "done"
    failure = outcomes["large"].failure
    assert failure is not None
    assert "MiB of memory, when all workers may use 300 MiB" in failure.what
    assert "--memory" in failure.remedy


def test_an_action_within_the_budget_is_left_alone(cache: Cache) -> None:
    with Pool(1, 1, memory=2 * 2**30) as pool:
        assert run([hog("large", 100 * 2**20, 0.3)], cache, pool)["large"].state == "done"


def test_the_memory_of_a_process_counts_what_it_started(tmp_path: Path) -> None:
    assert resident(os.getpid()) > 2**20
    assert resident(2**22 + 1) == 0
    budget = default_budget()
    assert budget is not None
    assert budget > 2**20
