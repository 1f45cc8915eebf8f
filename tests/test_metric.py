"""Metrics against their definitions, worked by hand or by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprue.metric import METRICS, accuracy, f1, mae, top5

OUTPUTS = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 3.0, 4.0], [5.0, 0.0, 0.0]])


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert accuracy(OUTPUTS, np.array([0, 1, 2, 0])) == 1.0
    assert accuracy(OUTPUTS, np.array([0, 1, 1, 1])) == 0.5
    assert accuracy(OUTPUTS[:, None, :], np.array([[0], [1], [1], [1]])) == 0.5


def test_top5_takes_the_five_largest() -> None:
    outputs = np.tile(np.arange(10.0), (3, 1))
    assert top5(outputs, np.array([5, 9, 4])) == pytest.approx(2 / 3)
    assert top5(OUTPUTS, np.array([2, 2, 2, 2])) == 1.0


def test_f1_by_hand() -> None:
    """Answers 0 1 2 0, truth 0 1 1 1: class 0: 2/(2+1), class 1: 2/(1+3), class 2: 0."""
    assert f1(OUTPUTS, np.array([0, 1, 1, 1])) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_f1_and_accuracy_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn (the extra `train`)")
    answers, truth = (np.array(column) for column in zip(*pairs, strict=True))
    outputs = np.eye(4)[answers]
    assert f1(outputs, truth) == pytest.approx(
        sklearn.f1_score(truth, answers, average="macro", zero_division=0)
    )
    assert accuracy(outputs, truth) == pytest.approx(sklearn.accuracy_score(truth, answers))


def test_mae_is_the_mean_absolute_difference() -> None:
    assert mae(np.array([[1.0], [2.0]], np.float32), np.array([2, 4])) == 1.5


@pytest.mark.parametrize("name", METRICS)
def test_a_drop_is_positive_when_the_answers_become_worse(name: str) -> None:
    metric = METRICS[name]
    labels = np.array([0, 1, 2, 0]) if metric.integer_labels else OUTPUTS
    worse = -OUTPUTS if name != "top5" else np.tile(np.arange(9.0), (4, 1))
    better = OUTPUTS if name != "top5" else -worse
    assert metric.name == name
    assert metric.drop(metric.compute(better, labels), metric.compute(worse, labels)) > 0
