"""Timing artifacts side by side, on runners whose work is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from sprue.backend import Operator, Profile
from sprue.measuring import measure
from sprue.measuring.measure import FEWEST_ROUNDS, ROUNDS, ROUNDS_ALONE, Candidate
from sprue.measuring.processors import allowed

Arrays = Mapping[str, NDArray[np.generic]]
SAMPLES = {"x": np.arange(5.0)}


class Counting:
    """Notes what it is asked, and works as long as it is told to."""

    execution: Literal["native", "emulated", "stand-in"] = "native"

    def __init__(self, name: str, log: list[tuple[str, float]], work: int = 1) -> None:
        self.name, self.log, self.work = name, log, work

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        self.log.append((self.name, float(inputs["x"][0])))
        total = np.zeros(2000)
        for _ in range(self.work):
            total += np.sqrt(total + 1)
        return {"y": total}

    def profile(self) -> Profile:
        return Profile()

    def operators(self, sample: Arrays) -> tuple[Operator, ...]:
        return ()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "ROUND_SECONDS", 0.0005)


@pytest.mark.usefixtures("quick")
def test_candidates_take_turns_in_every_round_in_a_changing_order() -> None:
    log: list[tuple[str, float]] = []
    loads = {name: Candidate(lambda name=name: Counting(name, log)) for name in "abc"}  # type: ignore[misc]
    timings, _ = measure.measure(loads, SAMPLES)
    turns = [name for i, (name, _) in enumerate(log) if i == 0 or log[i - 1][0] != name]
    firsts = {"".join(turns[i : i + 3]) for i in range(0, len(turns) - 3, 3)}
    assert {len(t.rounds) for t in timings.values()} in ({ROUNDS}, {ROUNDS_ALONE})
    assert len(firsts) > 2
    assert {value for _, value in log} == {0, 1, 2, 3, 4}


@pytest.mark.usefixtures("quick")
def test_the_figures_of_one_candidate_fit_each_other() -> None:
    before = allowed()
    timings, conditions = measure.measure({"a": Candidate(lambda: Counting("a", [], work=20))}, SAMPLES)
    timing = timings["a"]
    assert 0 < timing.minimum <= timing.best == min(timing.rounds) <= timing.p50 <= timing.p95
    assert timing.cpu > 0
    assert timing.load > 0
    assert timing.runs >= len(timing.rounds)
    assert FEWEST_ROUNDS <= len(timing.rounds) <= ROUNDS_ALONE
    assert allowed() == before
    assert len(conditions.cores) <= len(before)


def test_slow_candidates_get_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    timings, _ = measure.measure({"a": Candidate(lambda: Counting("a", []))}, SAMPLES)
    assert timings["a"].runs == len(timings["a"].rounds) == FEWEST_ROUNDS


@pytest.mark.usefixtures("quick")
def test_a_candidate_that_fails_leaves_the_process_unpinned() -> None:
    def fail() -> Counting:
        raise ValueError("broken")

    before = allowed()
    with pytest.raises(ValueError, match="broken"):
        measure.measure({"a": Candidate(fail)}, SAMPLES)
    assert allowed() == before


def test_each_is_asked_once_when_it_is_first_loaded_and_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "ROUND_SECONDS", 0.0)
    log: list[tuple[str, float]] = []
    asked: list[tuple[str, int]] = []
    loads = {name: Candidate(lambda name=name: Counting(name, log)) for name in "ab"}  # type: ignore[misc]
    timings, _ = measure.measure(loads, SAMPLES, lambda name, _: asked.append((name, len(log))))
    assert asked == [("a", 0), ("b", 0)]
    assert [*timings] == ["a", "b"]


def test_nothing_to_time_is_no_measurement() -> None:
    timings, conditions = measure.measure({}, SAMPLES)
    assert timings == {}
    assert conditions.load_before is None
