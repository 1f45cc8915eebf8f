"""Reading /proc/stat, choosing quiet cores, and telling when others use them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sprue.measuring import processors
from sprue.measuring.processors import Use, Watch, allowed, quietest, uses, without

STAT = """cpu  10 0 20 1000 5 0 0 3 0 0
cpu0 4 1 5 500 2 1 1 2 0 0
cpu1 6 0 15 500 3 0 0 1 0 0
intr 12345 0
"""

linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc/stat")


def test_stolen_time_is_apart_and_waiting_is_no_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(STAT)
    monkeypatch.setattr(processors, "STAT", tmp_path / "stat")
    tick = os.sysconf("SC_CLK_TCK")
    assert uses() == {0: Use(12 / tick, 2 / tick), 1: Use(21 / tick, 1 / tick)}


def test_where_there_is_no_proc_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processors, "STAT", tmp_path / "missing")
    watch = Watch()
    watch.choose()
    conditions = watch.end()
    assert (conditions.others, conditions.stolen, conditions.noise) == (None, None, "")


def test_the_core_that_did_least_comes_first() -> None:
    before = {0: Use(10, 0), 1: Use(50, 0), 2: Use(0, 0)}
    after = {0: Use(12, 0), 1: Use(50.1, 0), 2: Use(1, 0)}
    assert quietest(before, after, (0, 1, 2)) == [1, 2, 0]
    assert quietest(before, after, (0, 2)) == [2, 0]


def test_what_one_does_oneself_makes_no_core_busy() -> None:
    before, now = {0: Use(10, 0), 1: Use(50, 0)}, {0: Use(10.3, 0), 1: Use(50.1, 0)}
    assert quietest(before, now, (0, 1)) == [1, 0]
    assert quietest(before, without(now, (0,), 0.3), (0, 1)) == [0, 1]
    assert quietest(before, without(now, (0, 1), 0.1), (0, 1)) == [1, 0]


@linux
def test_pinned_threads_get_their_cores_back() -> None:
    before = allowed()
    watch = Watch()
    watch.pin(1)
    assert len(allowed()) == 1
    conditions = watch.end()
    assert allowed() == before
    assert len(conditions.cores) == 1
    assert set(conditions.cores) <= set(before)


@linux
def test_another_process_is_noticed_and_ones_own_work_is_not() -> None:
    script = "import time; e = time.time() + 20\nwhile time.time() < e: pass"
    busy = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(len(allowed()))]
    try:
        watch = Watch()
        watch.pin(1)
        time.sleep(0.4)
        conditions = watch.end()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert conditions.others is not None
    assert conditions.others > 0.5
    assert conditions.noise.startswith("other processes used ")


@pytest.mark.parametrize(
    ("others", "beside", "stolen", "noise"),
    [
        (0.1, 0.0, 0.0, ""),
        (0.3, 0.0, 0.0, "other processes used 0.3 of 2 cores"),
        (0.1, 0.08, 0.0, "other processes used 0.1 of 2 cores"),
        (0.0, 0.0, 0.03, "the hypervisor took 3 % of the time"),
    ],
)
def test_a_measurement_is_noisy_when_others_took_part_of_the_machine(
    others: float, beside: float, stolen: float, noise: str
) -> None:
    assert processors.noise(others, beside, stolen, 2) == noise
