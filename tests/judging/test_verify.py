"""Verification against the formula of tolerance.py, element by element, and its refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sprue.canonical import canonical
from sprue.errors import CheckError
from sprue.judging.tolerance import TOLERANCES, Tolerance
from sprue.judging.verify import Agreement, compare
from sprue.target import PRECISIONS

NUMBERS = st.floats(-1000, 1000, width=32)
TOLERANCE = st.builds(Tolerance, st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 40))


def one(actual: Any, reference: Any, tolerance: Tolerance) -> Agreement:
    return compare({"y": np.asarray(actual)}, {"y": np.asarray(reference)}, tolerance)["y"]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8), TOLERANCE)
def test_an_element_may_take_its_allowance_and_no_more(
    pairs: list[tuple[float, float]], tolerance: Tolerance
) -> None:
    """|a - r| <= atol + rtol |r| + steps (max r - min r) / 255 for each element, worked out one by one."""
    actual, reference = (np.array(c, np.float32) for c in zip(*pairs, strict=True))
    step = (float(reference.max()) - float(reference.min())) / 255
    shares = []
    for a, r in zip(actual.tolist(), reference.tolist(), strict=True):
        allowed = tolerance.atol + tolerance.rtol * abs(r) + tolerance.steps * step
        shares.append(0.0 if a == r else min(abs(a - r) / allowed, 1e12) if allowed else 1e12)
    found = one(actual, reference, tolerance)
    assert found.used == pytest.approx(max(shares), rel=1e-9)
    assert found.max_abs == pytest.approx(
        max(abs(a - r) for a, r in zip(actual.tolist(), reference.tolist(), strict=True))
    )
    worst = shares.index(max(shares))
    assert shares[found.sample] == pytest.approx(shares[worst])
    json.loads(canonical(found.to_json()))


def test_a_reference_of_zero_is_no_special_case() -> None:
    tolerance = Tolerance(atol=1e-3, rtol=0.5, steps=0)
    assert one([[1e-3, 0.0]], [[0.0, 0.0]], tolerance).used == pytest.approx(1)
    assert one([[2e-3, 0.0]], [[0.0, 0.0]], tolerance).used == pytest.approx(2)


def test_the_steps_are_of_the_whole_outputs_range() -> None:
    reference = np.array([[0.0, 255.0], [10.0, 20.0]])
    actual = reference + np.array([[0.0, 0.0], [4.0, 0.0]])
    assert one(actual, reference, Tolerance(0, 0, steps=4)).used == pytest.approx(1)
    assert one(actual, reference, Tolerance(0, 0, steps=2)).sample == 1


def test_a_tolerance_of_zero_takes_equal_outputs_only() -> None:
    exact = Tolerance(0, 0, 0)
    assert one([[1.0, 2.0]], [[1.0, 2.0]], exact).used == 0
    off = one([[1.0, 2.5]], [[1.0, 2.0]], exact)
    assert 1 < off.used < np.inf
    assert (off.actual, off.reference) == (2.5, 2.0)
    canonical(off.to_json())


def test_a_constant_output_and_integers_are_compared() -> None:
    assert one([[7.0]], [[7.0]], Tolerance(0, 0, 32)).used == 0
    assert one(np.array([[5], [6]]), np.array([[5], [9]]), Tolerance(1.5, 0, 0)).used == pytest.approx(2)


def test_the_share_of_same_answers_is_by_sample() -> None:
    reference = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    actual = np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.5], [0.0, 1.0]])
    assert one(actual, reference, Tolerance(9, 0, 0)).same_answer == 0.75
    assert one(actual[:, :1], reference[:, :1], Tolerance(9, 0, 0)).same_answer is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_sample(bad: float) -> None:
    actual = np.zeros((4, 2))
    actual[2, 1] = bad
    with pytest.raises(CheckError, match="output 'y' is NaN or infinite for evaluation sample 2"):
        one(actual, np.zeros((4, 2)), Tolerance(np.finfo(float).max, 0, 0))


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        ({"z": np.zeros((4, 2))}, r"the artifact's outputs are \['z'\], the model's are \['y'\]"),
        ({"y": np.zeros((4, 2)), "z": np.zeros(4)}, r"outputs are \['y', 'z'\]"),
        ({}, r"outputs are \[\]"),
        ({"y": np.zeros((4, 3))}, r"is float64\[4, 3\], the model's is float64\[4, 2\]"),
        ({"y": np.zeros((3, 2))}, r"is float64\[3, 2\]"),
        ({"y": np.zeros((4, 2, 1))}, r"is float64\[4, 2, 1\]"),
        ({"y": np.zeros((4, 2), np.float32)}, r"is float32\[4, 2\]"),
    ],
)
def test_other_names_shapes_and_dtypes_are_refused(actual: dict[str, NDArray[Any]], words: str) -> None:
    with pytest.raises(CheckError, match=words):
        compare(actual, {"y": np.zeros((4, 2))}, Tolerance(9, 9, 9))


def test_every_precision_has_a_tolerance_and_a_coarser_one_allows_no_less() -> None:
    assert set(TOLERANCES) == set(PRECISIONS)
    finest = TOLERANCES["float32"]
    for tolerance in TOLERANCES.values():
        assert tolerance.atol >= finest.atol
        assert tolerance.rtol >= finest.rtol
        assert tolerance.steps >= finest.steps


def test_a_recipe_overrides_single_values_also_with_zero() -> None:
    assert Tolerance(1, 2, 3).replaced({"atol": 0.0, "rtol": None, "steps": 5.0}) == Tolerance(0.0, 2, 5.0)
