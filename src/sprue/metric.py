"""Metrics: what one number says of a model's answers. The first output is judged against the labels.

Each metric takes `outputs` float [samples, ...] and `labels` [samples, ...] and returns a float. Whether more
is better is part of the metric, so that a `drop` always means "worse".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


@dataclass(frozen=True)
class Metric:
    name: str
    higher_is_better: bool
    integer_labels: bool
    compute: Callable[[Array, Array], float]

    def drop(self, reference: float, value: float) -> float:
        """How much worse `value` is than `reference`; negative when it is better."""
        return reference - value if self.higher_is_better else value - reference


def accuracy(outputs: Array, labels: Array) -> float:
    """The share of samples whose largest output is the label."""
    return float((outputs.reshape(len(outputs), -1).argmax(axis=1) == labels.reshape(-1)).mean())


def top5(outputs: Array, labels: Array) -> float:
    """The share of samples whose label is among the five largest outputs."""
    best = outputs.reshape(len(outputs), -1).argsort(axis=1)[:, -5:]
    return float((best == labels.reshape(-1, 1)).any(axis=1).mean())


def f1(outputs: Array, labels: Array) -> float:
    """The mean over classes of 2TP / (2TP + FP + FN): macro F1, over the classes that occur."""
    import numpy as np

    answers = outputs.reshape(len(outputs), -1).argmax(axis=1)
    truth = labels.reshape(-1)
    scores = []
    for klass in np.union1d(answers, truth):
        hit = int(((answers == klass) & (truth == klass)).sum())
        scores.append(2 * hit / (int((answers == klass).sum()) + int((truth == klass).sum())))
    return float(np.mean(scores))


def mae(outputs: Array, labels: Array) -> float:
    """Mean absolute error."""
    import numpy as np

    return float(np.abs(outputs.astype(np.float64) - labels.astype(np.float64).reshape(outputs.shape)).mean())


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("accuracy", True, True, accuracy),
    "top5": Metric("top5", True, True, top5),
    "f1": Metric("f1", True, True, f1),
    "mae": Metric("mae", False, False, mae),
}
