"""Judging a verdict against what the recipe accepts, and choosing among those that pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.backend import Variant
from sprue.choosing.select import NOISE, Result, choose, judge, select, why
from sprue.measuring.measured import Measured
from sprue.measuring.timing import INDIFFERENT, Timing
from sprue.recipe import Accept, Preference
from sprue.target import Target

TARGET = Target("box", "a box", ("null",), "linux", "any")
VARIANT = Variant(TARGET, "null", "float32")


def a_drop(value: float, margin: float = 0.005, samples: int = 1000) -> dict[str, Any]:
    """A drop that may be `margin` larger or smaller."""
    bounds = {name: dict.fromkeys(("0.9", "0.95", "0.99"), value + sign * margin) for name, sign in SIDES}
    return {"value": value, "samples": samples, "lost": None, "won": None, **bounds}


SIDES = (("at_least", -1), ("at_most", 1))


def verdict(
    value: float = 0.9,
    used: float = 0.5,
    execution: str = "native",
    reference: float = 0.9,
    halves: dict[str, Any] | None = None,
    **profile: Any,
) -> dict[str, Any]:
    agreement = {
        "used": used,
        "max_abs": 0.1,
        "sample": 3,
        "actual": 1.5,
        "reference": 1.0,
        "same_answer": 0.97,
    }
    return {
        "execution": execution,
        "deflated": None,
        "outputs": {"y": agreement, "z": {**agreement, "used": 0.1, "same_answer": None}},
        "metric": {
            "name": "accuracy",
            "value": value,
            "low": value - 0.02,
            "high": value + 0.02,
            "drop": a_drop(reference - value),
            "halves": halves,
        },
        "profile": {
            **{"flash": None, "ram": None, "instructions": None, "cycles": None, "notes": {}},
            **profile,
        },
    }


def judged(made: dict[str, Any], target: Target = TARGET, max_drop: float = 0.01) -> Result:
    return judge(replace(VARIANT, target=target), made, 1000, Accept(max_drop))


def test_what_keeps_everything_is_verified() -> None:
    result = judged(verdict())
    assert (result.state, result.reason, result.broken) == ("verified", "", False)
    assert (result.size, result.drop, result.same_answer, result.tolerance_used) == (1000, 0, 0.97, 0.5)
    assert judged(verdict(execution="emulated")).state == "verified"


def test_what_only_a_stand_in_ran_is_prepared_and_never_verified() -> None:
    assert judged(verdict(execution="stand-in")).state == "prepared"


@pytest.mark.parametrize(("used", "state"), [(1.0, "verified"), (1.0001, "failed"), (1e12, "failed")])
def test_an_output_outside_its_tolerance_fails(used: float, state: str) -> None:
    result = judged(verdict(used=used))
    assert result.state == state
    assert ("output 'y' leaves its tolerance" in result.reason) is (state == "failed")
    assert not result.broken


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_a_drop_may_be_as_large_as_accepted_and_no_larger(reference: int, value: int, allowed: int) -> None:
    """In hundredths, where floats are off by an ulp: 0.90 - 0.89 is not 0.01."""
    result = judged(verdict(value / 100, reference=reference / 100), max_drop=allowed / 100)
    assert (result.state == "verified") is (reference - value <= allowed)


def test_what_passes_as_measured_says_whether_it_is_proven() -> None:
    sure, unsure = judged(verdict(0.896)), judged(verdict(0.894))
    assert (sure.state, sure.proven) == ("verified", True)
    assert (unsure.state, unsure.proven) == ("verified", False)
    assert [r.drop_at_most for r in (sure, unsure)] == pytest.approx([0.009, 0.011])
    assert [sure.metric_low, sure.metric_high] == pytest.approx([0.876, 0.916])


def test_what_was_chosen_on_one_half_is_judged_on_the_other() -> None:
    lucky = {"choosing": a_drop(0.0), "judging": a_drop(0.02)}
    good = {"choosing": a_drop(0.005), "judging": a_drop(0.005)}
    small = replace(judged(verdict(halves=lucky)), size=1)
    large = judged(verdict(halves=good))
    assert small.state == large.state == "verified"
    settled, kept = choose([small, large], "size", Accept(0.01))
    assert kept is large
    assert [r.state for r in settled] == ["failed", "verified"]
    assert settled[0].reason.startswith(
        "the metric is 0.0200 worse than the reference's on the judging half of "
    )
    assert choose([small], "size", Accept(0.01))[1] is None


def test_a_variant_that_fails_on_the_choosing_half_is_no_candidate() -> None:
    halves = {"choosing": a_drop(0.02), "judging": a_drop(0.0)}
    assert judged(verdict(halves=halves)).state == "failed"


def test_halves_too_small_to_prove_anything_are_not_told_apart() -> None:
    halves = {name: a_drop(0.5, samples=50) for name in ("choosing", "judging")}
    result = judged(verdict(halves=halves))
    assert (result.state, result.judging) == ("verified", None)


def test_limits_are_held_against_what_the_artifact_needs() -> None:
    small = replace(TARGET, limit_ram=100, limit_flash=1000)
    assert judged(verdict(ram=100, flash=1000), small).state == "verified"
    over = judged(verdict(ram=101, flash=1001), small)
    assert over.state == "failed"
    assert (
        over.reason
        == "it needs 101 bytes of ram, limit.ram is 100; it needs 1001 bytes of flash, limit.flash is 1000"
    )


def test_flash_is_the_artifacts_size_where_nothing_else_is_known() -> None:
    assert judged(verdict(), replace(TARGET, limit_flash=999)).state == "failed"
    assert judged(verdict(), replace(TARGET, limit_flash=1000)).state == "verified"


def test_a_limit_that_cannot_be_judged_is_not_taken_as_kept() -> None:
    result = judged(verdict(), replace(TARGET, limit_ram=10**9))
    assert (result.state, result.reason) == (
        "failed",
        "limit.ram is 1000000000 bytes, and this backend cannot tell what it needs",
    )


WOBBLE = (1.0, 1.01, 0.99, 1.005, 0.995, 1.002, 0.998, 1.0, 1.003, 0.997)
"""What rounds are multiplied by: a machine that is not quite still."""


def timed(latency: float, rounds: int = len(WOBBLE)) -> Measured:
    times = tuple(latency * w for w in WOBBLE[:rounds])
    return Measured(Timing(0.1, min(times), latency, latency, min(times), latency, 100, times))


def passed(name: str, state: Any = "verified", latency: float | None = None, **values: Any) -> Result:
    measured = Measured() if latency is None else timed(latency)
    return Result(replace(VARIANT, backend=name), state, **{"size": 1000, "measured": measured, **values})


def chosen(prefer: Preference, *results: Result) -> str | None:
    kept = select(results, prefer)
    return None if kept is None else kept.variant.backend


def test_nothing_is_selected_when_nothing_passed() -> None:
    assert chosen("latency") is None
    assert chosen("latency", passed("a", "failed", latency=1.0)) is None


def test_latency_takes_the_fastest() -> None:
    assert chosen("latency", passed("a", latency=2.0, size=1), passed("b", latency=1.0)) == "b"


def test_of_those_that_cannot_be_told_from_the_fastest_the_smaller_wins_then_the_recipes_order() -> None:
    near, far = 1 + INDIFFERENT / 2, 1 + INDIFFERENT * 2
    assert chosen("latency", passed("a", latency=1.0), passed("b", latency=near, size=999)) == "b"
    assert chosen("latency", passed("a", latency=1.0), passed("b", latency=far, size=999)) == "a"
    assert chosen("latency", passed("a", latency=near), passed("b", latency=1.0)) == "a"
    assert chosen("latency", passed("b", latency=far, size=1), passed("a", latency=1.0)) == "a"


def test_what_was_not_timed_side_by_side_must_be_further_apart_to_be_told_apart() -> None:
    alone = replace(passed("a", size=999), measured=timed(1 + NOISE / 2, rounds=9))
    assert chosen("latency", passed("b", latency=1.0), alone) == "a"
    alone = replace(alone, measured=timed(1 + NOISE * 2, rounds=9))
    assert chosen("latency", passed("b", latency=1.0), alone) == "b"


def test_instructions_count_where_only_an_emulator_ran() -> None:
    assert (
        chosen("latency", passed("a", instructions=900, ram=5), passed("b", instructions=500, ram=9)) == "b"
    )


def test_size_takes_the_flash_if_it_is_known() -> None:
    assert chosen("size", passed("a", size=10, flash=500), passed("b", size=400)) == "b"


def dropped(name: str, drop: float, margin: float = 0.0, size: int = 1000) -> Result:
    return passed(name, drop=drop, choosing=a_drop(drop, margin), size=size)


def test_metric_takes_the_smallest_drop_also_below_zero() -> None:
    assert chosen("metric", dropped("a", 0.0), dropped("b", -0.01), dropped("c", 0.005)) == "b"
    assert chosen("metric", dropped("a", 0.0, size=5), dropped("b", 0.0, size=4)) == "b"


def test_one_image_does_not_decide_which_metric_is_best() -> None:
    best, near, far = (
        dropped("best", 0.0),
        dropped("near", 0.003, 0.005, size=9),
        dropped("far", 0.02, 0.005, size=1),
    )
    assert chosen("metric", best, near, far) == "near"


@pytest.mark.parametrize("prefer", ["latency", "size", "metric"])
def test_what_was_executed_comes_before_what_was_only_prepared(prefer: Preference) -> None:
    slow = passed("slow", latency=9.0, drop=0.01, size=9000)
    assert chosen(prefer, passed("quick", "prepared", latency=1.0, drop=0.0, size=1), slow) == "slow"


def test_the_reason_is_true_and_the_same_whatever_was_measured() -> None:
    a, b, bad = (
        passed("a", latency=1.0),
        passed("b", latency=1 + INDIFFERENT / 2, size=10),
        passed("c", "failed"),
    )
    assert why(a, [a], "latency") == "the only candidate"
    assert why(a, [a, bad], "latency") == "the only candidate that passed"
    fast = "the fastest, or the smallest of those that are as fast as can be told, of 2 that passed"
    assert why(a, [a, passed("d", latency=3.0), bad], "latency") == fast
    assert select([a, b], "latency") is b
    assert why(b, [a, b], "latency") == fast, "no time has a part in it"
    assert why(a, [a, replace(b, state="refused", stood="verified")], "latency") == fast
    assert why(b, [a, b], "size") == "the smallest of 2 that passed"
    assert why(a, [a, b], "metric") == "the best metric of 2 that passed"
