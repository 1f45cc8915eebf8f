"""Which of two is faster: intervals against the binomial distribution and against simulated machines."""

from __future__ import annotations

from math import comb, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.measuring.timing import INDIFFERENT, agree, compare, undisputed

ROUNDS = st.lists(st.floats(1e-7, 10), min_size=1, max_size=40)


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    compared = compare([1.0, 2.0, 4.0], [1.1, 2.6, 4.8])
    assert compared.ratio == pytest.approx(1.2)


@pytest.mark.parametrize(("count", "rank"), [(6, 1), (8, 1), (9, 2), (30, 10), (31, 10)])
def test_the_interval_has_the_ranks_of_the_sign_test(count: int, rank: int) -> None:
    """Published tables: with 30 values the median lies between the 10th and the 21st, for 95 %."""
    compared = compare([1.0] * count, [float(i) for i in range(1, count + 1)])
    assert (compared.low, compared.high) == (rank, count + 1 - rank)
    outside = 2 * sum(comb(count, k) for k in range(rank)) / 2**count
    assert outside <= 0.05


def test_too_few_rounds_prove_nothing() -> None:
    compared = compare([1.0] * 5, [9.0] * 5)
    assert (compared.ratio, compared.low, compared.high) == (9, 0, inf)
    assert not compared.slower


@given(ROUNDS)
def test_nothing_is_slower_than_itself(rounds: list[float]) -> None:
    compared = compare(rounds, rounds)
    assert compared.ratio == 1
    assert not compared.slower


@given(st.lists(st.tuples(st.floats(1e-7, 10), st.floats(1e-7, 10)), min_size=1, max_size=40))
def test_two_are_compared_alike_in_either_order(pairs: list[tuple[float, float]]) -> None:
    one, two = ([p[i] for p in pairs] for i in (0, 1))
    there, back = compare(one, two), compare(two, one)
    assert not (there.slower and back.slower)
    assert there.low == pytest.approx(1 / back.high)


def test_slower_must_be_beyond_doubt_and_by_enough_to_matter() -> None:
    assert compare([1.0] * 9, [1 + 2 * INDIFFERENT] * 9).slower
    assert not compare([1.0] * 9, [1 + INDIFFERENT / 2] * 9).slower
    assert not compare([1.0] * 9, [0.9] * 4 + [1.3] * 5).slower


def test_who_is_fastest_is_undisputed_only_if_every_round_says_so_of_every_rival() -> None:
    fastest, close = [1.0, 2.0, 1.0], [1 + INDIFFERENT / 2, 9.0, 9.0]
    slower = [(1 + 2 * INDIFFERENT) * seconds for seconds in fastest]
    assert undisputed([slower, fastest])
    assert not undisputed([slower, fastest, close])
    assert not undisputed([fastest, fastest])


def test_rounds_agree_if_each_of_them_does() -> None:
    assert agree([1.0, 1.005, 0.995])
    assert not agree([1.0] * 20 + [1.1])


def test_the_interval_holds_the_truth_as_often_as_it_says_whatever_the_noise() -> None:
    """Rounds that drift together, each with a heavy tail, as on a shared machine. 600 trials: 95 % is 570."""
    draw = np.random.default_rng(5)
    held = 0
    for _ in range(600):
        drift = np.exp(np.cumsum(draw.normal(0, 0.05, 30)))
        one, two = (drift * np.exp(draw.normal(0, 0.03, 30) + draw.exponential(0.05, 30)) for _ in range(2))
        compared = compare(one.tolist(), (two * 1.05).tolist())
        held += compared.low <= 1.05 <= compared.high
    assert held >= 560
