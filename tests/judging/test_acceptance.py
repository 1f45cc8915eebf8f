"""Holding a drop against what is accepted: as measured, and beyond doubt."""

from __future__ import annotations

from typing import Any

import pytest

from sprue.judging.acceptance import at_most, drop_reason, judged_apart, proves
from sprue.recipe import Accept


def a_drop(value: float, bound: float | None, samples: int = 1000, **more: Any) -> dict[str, Any]:
    bounds = {"0.9": bound, "0.95": bound, "0.99": None if bound is None else bound + 0.02}
    return {"value": value, "samples": samples, "lost": 3, "won": 1, "at_most": bounds, **more}


def test_without_a_word_the_drop_as_measured_decides() -> None:
    accept = Accept(0.01)
    assert drop_reason("accuracy", a_drop(0.01, 0.5), accept) == []
    assert not proves(a_drop(0.01, 0.5), accept)
    assert proves(a_drop(0.001, 0.01), accept)
    (reason,) = drop_reason("accuracy", a_drop(0.0101, 0.5), accept)
    assert reason == (
        "accuracy is 0.0101 worse than the reference's on 1000 samples (3 answers lost, 1 won); "
        "allowed is 0.01"
    )


def test_with_confidence_the_bound_decides_at_that_level() -> None:
    drop = a_drop(0.002, 0.009)
    assert drop_reason("accuracy", drop, Accept(0.01, confidence=0.95)) == []
    (reason,) = drop_reason("accuracy", drop, Accept(0.01, confidence=0.99))
    assert "with 99% confidence it may be up to 0.0290; allowed is 0.01" in reason
    assert at_most(drop, Accept(0.01, confidence=0.99)) == pytest.approx(0.029)


def test_a_bound_that_is_not_known_proves_nothing() -> None:
    (reason,) = drop_reason("mine", a_drop(0.0, None), Accept(0.01, confidence=0.9))
    assert "by how much more is not known" in reason


def test_it_is_said_when_no_artifact_could_prove_it() -> None:
    (reason,) = drop_reason("accuracy", a_drop(0.0, 0.03, samples=100), Accept(0.01, confidence=0.95))
    assert reason.endswith("So few samples cannot prove it, not even of the same answers: it takes 268")
    (reason,) = drop_reason("accuracy", a_drop(0.0, 0.03), Accept(0.0, confidence=0.95))
    assert reason.endswith("No number of samples proves a drop of 0: allow a little with max_drop")


@pytest.mark.parametrize(("samples", "apart"), [(268, True), (267, False)])
def test_halves_are_apart_where_each_could_prove_what_is_accepted(samples: int, apart: bool) -> None:
    halves = {"choosing": a_drop(0, 0, 500), "judging": a_drop(0, 0, samples)}
    assert (judged_apart(halves, Accept(0.01)) is not None) is apart
    assert judged_apart(halves, Accept(0.0)) is None
    assert judged_apart(None, Accept(0.01)) is None
