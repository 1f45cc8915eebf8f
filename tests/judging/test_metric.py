"""Metrics against their definitions, worked by hand or by scikit-learn and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sprue.errors import SprueError
from sprue.judging.metric import METRICS, auc, cosine, f1, find_metric, is_own

OUTPUTS = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 3.0, 4.0], [5.0, 0.0, 0.0]])


def of(name: str, outputs: NDArray[Any], labels: NDArray[Any]) -> float:
    return find_metric(name).compute({"y": outputs}, labels)


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert of("accuracy", OUTPUTS, np.array([0, 1, 2, 0])) == 1.0
    assert of("accuracy", OUTPUTS, np.array([0, 1, 1, 1])) == 0.5
    assert of("accuracy", OUTPUTS[:, None, :], np.array([[0], [1], [1], [1]])) == 0.5


def test_top_k_takes_the_k_largest() -> None:
    outputs = np.tile(np.arange(10.0), (3, 1))
    assert of("top5", outputs, np.array([5, 9, 4])) == pytest.approx(2 / 3)
    assert of("top2", outputs, np.array([7, 8, 9])) == pytest.approx(2 / 3)
    assert of("top5", OUTPUTS, np.array([2, 2, 2, 2])) == 1.0


def test_f1_by_hand() -> None:
    """Answers 0 1 2 0, truth 0 1 1 1: class 0: 2/(2+1), class 1: 2/(1+3), class 2: 0."""
    assert of("f1", OUTPUTS, np.array([0, 1, 1, 1])) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_f1_and_accuracy_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    answers, truth = (np.array(column) for column in zip(*pairs, strict=True))
    outputs = {"y": np.eye(4)[answers]}
    expected = metrics.f1_score(truth, answers, average="macro", zero_division=0)
    assert f1(outputs, truth) == pytest.approx(expected)
    assert of("accuracy", outputs["y"], truth) == pytest.approx(metrics.accuracy_score(truth, answers))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10**6))
def test_auc_and_top_k_agree_with_scikit_learn_ties_included(classes: int, seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    draw = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), draw.integers(0, classes, 20)])
    scores = draw.integers(1, 5, (len(truth), classes)) / 1.0
    scores /= scores.sum(axis=1, keepdims=True)
    if classes == 2:
        assert auc({"y": scores}, truth) == pytest.approx(metrics.roc_auc_score(truth, scores[:, 1]))
        assert auc({"y": scores[:, 1:]}, truth) == pytest.approx(metrics.roc_auc_score(truth, scores[:, 1]))
    else:
        expected = metrics.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
        assert auc({"y": scores}, truth) == pytest.approx(expected)
    clear = scores + draw.random(scores.shape) / 1e6
    expected = metrics.top_k_accuracy_score(truth, clear, k=2, labels=range(classes)) if classes > 2 else 1.0
    assert of("top2", clear, truth) == pytest.approx(expected)


def test_auc_is_over_the_classes_that_occur_and_undefined_for_one() -> None:
    outputs = {"y": np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.0]])}
    assert auc(outputs, np.array([0, 1])) == 1.0
    assert np.isnan(auc(outputs, np.array([1, 1])))


def test_mae_is_the_mean_absolute_difference() -> None:
    assert of("mae", np.array([[1.0], [2.0]], np.float32), np.array([2, 4])) == 1.5


def test_cosine_agrees_with_scipy_and_is_zero_for_a_zero_vector() -> None:
    distance = pytest.importorskip("scipy.spatial.distance", reason="needs scipy")
    labels = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    expected = [1 - distance.cosine(o, w) for o, w in zip(OUTPUTS[:3], labels[:3], strict=True)]
    np.testing.assert_allclose(cosine({"y": OUTPUTS}, labels), [*expected, 0.0])
    assert of("cosine", OUTPUTS, labels) == pytest.approx(sum(expected) / 4)


@pytest.mark.parametrize("name", METRICS)
def test_a_drop_is_positive_when_the_answers_become_worse(name: str) -> None:
    metric = METRICS[name]
    labels = np.array([0, 1, 2, 0]) if metric.labels == "class" else OUTPUTS
    worse = -OUTPUTS if name != "top5" else np.tile(np.arange(9.0), (4, 1))
    better = OUTPUTS if name != "top5" else -worse
    assert metric.name == name
    assert metric.drop(of(name, better, labels), of(name, worse, labels)) > 0


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_scores_is_their_mean(name: str) -> None:
    metric = METRICS[name]
    labels = np.array([0, 1, 2, 1]) if metric.labels == "class" else OUTPUTS[::-1]
    if metric.scores is not None:
        scores = metric.scores({"y": OUTPUTS}, labels)
        assert scores.shape == (4,)
        assert scores.mean() == pytest.approx(of(name, OUTPUTS, labels))
        assert not metric.right or set(scores) <= {0.0, 1.0}


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SprueError, match="there is no metric 'acuracy'") as caught:
        find_metric("acuracy")
    assert "did you mean 'accuracy'" in caught.value.remedy
    assert find_metric("top10").name == "top10"
    with pytest.raises(SprueError):
        find_metric("top0")
    assert is_own("metrics.py:score")
    assert not is_own("f1")
