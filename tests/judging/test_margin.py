"""Intervals against published examples, exact binomial limits and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.judging.certainty import needed, quantile
from sprue.judging.margin import drop, halves, tango, value, wilson
from sprue.judging.metric import METRICS, Metric, find_metric

Z95 = quantile(0.975)


def one_hot(right: list[bool]) -> dict[str, np.ndarray]:
    """Answers to questions whose answer is 1."""
    return {"y": np.eye(2)[np.array(right, int)]}


def test_wilson_agrees_with_newcombes_published_examples() -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1
    of 29.
    """
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, count), limits in published.items():
        assert wilson(hits, count, Z95) == pytest.approx(limits, abs=5e-5)


@pytest.mark.parametrize(("lost", "won", "count"), [(1, 0, 44), (12, 2, 100), (9, 9, 60), (0, 0, 30)])
def test_tangos_limits_are_where_the_likelihood_says(lost: int, won: int, count: int) -> None:
    """At a limit, the observed difference is z standard errors off, as the most likely model that has
    exactly the limit's difference gives them. That model is searched for, not solved for.
    """
    for sign, limit in zip((1, -1), tango(lost, won, count, Z95), strict=True):
        rare = np.linspace(max(0, -limit), (1 - limit) / 2, 200_001)[1:-1]
        with np.errstate(divide="ignore"):
            same = count - lost - won
            terms = [(lost, rare + limit), (won, rare), (same, 1 - limit - 2 * rare)]
            likelihood = np.sum([n * np.log(p) for n, p in terms if n], axis=0)
        best = rare[likelihood.argmax()] if lost + won else max(0.0, -limit)
        error = np.sqrt((2 * best + limit - limit**2) / count)
        assert ((lost - won) / count - limit) / error == pytest.approx(sign * Z95, rel=1e-3)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60))
def test_tango_is_symmetric_and_holds_the_difference(lost: int, won: int, same: int) -> None:
    count = lost + won + same
    low, high = tango(lost, won, count, 1.645)
    assert low <= (lost - won) / count + 1e-12
    assert high >= (lost - won) / count - 1e-12
    assert tango(won, lost, count, 1.645) == pytest.approx((-high, -low), abs=1e-9)
    assert -1 <= low <= high <= 1


def test_no_change_in_few_samples_proves_little_and_in_needed_ones_enough() -> None:
    assert tango(0, 0, 20, quantile(0.95))[1] > 0.1
    enough = math.ceil(needed(0.01))
    assert tango(0, 0, enough, quantile(0.95))[1] <= 0.01
    assert tango(0, 0, enough - 2, quantile(0.95))[1] > 0.01
    assert needed(0) == math.inf


def test_tangos_bound_is_not_broken_more_often_than_it_says() -> None:
    """A true drop of 2 % in 400 samples, 3 % lost and 1 % won: at 95 % the bound may be below it in 1 of
    20.
    """
    draw = np.random.default_rng(3)
    cells = draw.multinomial(400, [0.03, 0.01, 0.96], size=400)
    below = sum(tango(int(lost), int(won), 400, quantile(0.95))[1] < 0.02 for lost, won, _ in cells)
    assert below <= 400 * 0.08


def test_the_drop_of_right_answers_counts_what_was_lost_and_won() -> None:
    labels = np.ones(100, int)
    before = one_hot([True] * 90 + [False] * 10)
    after = one_hot([False] * 3 + [True] * 87 + [True] * 2 + [False] * 8)
    found = drop(find_metric("accuracy"), before, after, labels)
    assert found.value == pytest.approx(0.01)
    assert (found.lost, found.won, found.samples) == (3, 2, 100)
    assert found.at_most[0.9] < found.at_most[0.95] < found.at_most[0.99]  # type: ignore[operator]  # no None here
    assert found.at_least[0.95] < 0.01 < found.at_most[0.95]  # type: ignore[operator]  # the same


@pytest.mark.parametrize("name", ["f1", "mae", "cosine", "auc"])
def test_a_bootstrap_is_the_same_every_time_and_holds_the_value(name: str) -> None:
    draw = np.random.default_rng(0)
    labels = np.array([0, 1, 2] * 20) if METRICS[name].labels == "class" else draw.random((60, 3))
    truth = np.eye(3)[labels] if METRICS[name].labels == "class" else labels
    before, after = ({"y": truth + draw.normal(0, s, (60, 3))} for s in (0.4, 0.6))
    found = value(METRICS[name], before, labels)
    assert found == value(METRICS[name], before, labels)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    worse = drop(METRICS[name], before, after, labels)
    assert worse == drop(METRICS[name], before, after, labels)
    assert worse.at_least[0.99] < worse.value < worse.at_most[0.99]  # type: ignore[operator]  # no None here


def test_a_mean_has_the_interval_that_theory_gives() -> None:
    """The mean of 400 standard normal errors: 1.96 standard errors each way, to within the bootstrap's own
    noise.
    """
    draw = np.random.default_rng(1)
    errors = np.abs(draw.normal(0, 1, (400, 1)))
    found = value(METRICS["mae"], {"y": errors}, np.zeros((400, 1)))
    half = 1.96 * errors.std() / 20
    assert found.low == pytest.approx(found.value - half, abs=half / 5)
    assert found.high == pytest.approx(found.value + half, abs=half / 5)


def test_a_metric_that_is_often_undefined_on_resamples_has_no_interval() -> None:
    def fragile(outputs: object, labels: np.ndarray) -> float:
        if len(np.unique(labels)) < len(labels):
            raise ZeroDivisionError
        return 1.0

    found = value(Metric("own", fragile, labels="any", resamples=50), one_hot([True] * 8), np.arange(8))
    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_halves_are_judged_apart_and_small_ones_not_at_all() -> None:
    metric, labels = find_metric("accuracy"), np.ones(100, int)
    before, after = one_hot([True] * 100), one_hot([False] * 2 + [True] * 98)
    judging = np.arange(100) >= 40
    made = halves(metric, before, after, labels, judging)
    assert made is not None
    assert [made["choosing"][k] for k in ("samples", "value")] == pytest.approx([40, 0.05])
    assert (made["judging"]["samples"], made["judging"]["value"]) == (60, 0.0)
    assert halves(metric, before, after, labels, np.arange(100) >= 80) is None
