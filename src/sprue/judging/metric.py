"""Metrics: what one number says of a model's answers. The first output is judged against the labels.

A metric is either the mean of a score that each sample gets by itself, or a figure of all samples together.
Whether more is better is part of it, so that a `drop` always means "worse". `own_metric.py` has those that a
user writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from sprue.errors import SprueError, did_you_mean

if TYPE_CHECKING:  # NumPy is imported where it computes: a cached build needs the names only
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Outputs = Mapping[str, Array]
    """Output name -> [samples, ...], in the model's order."""

Labels = Literal["class", "values", "any"]


@dataclass(frozen=True)
class Metric:
    """`labels`: one class a sample, numbers in the shape of the first output, or whatever the metric takes.

    `scores`: one number per sample, whose mean is the metric; None if it is one of the samples as a whole.
    `right`: the scores are 0 or 1. `resamples`: how often `compute` is called to find an interval.
    """

    name: str
    compute: Callable[[Outputs, Array], float]
    higher_is_better: bool = True
    labels: Labels = "class"
    scores: Callable[[Outputs, Array], NDArray[np.float64]] | None = None
    right: bool = False
    resamples: int = 1000

    def drop(self, reference: float, value: float) -> float:
        """How much worse `value` is than `reference`; negative when it is better."""
        return reference - value if self.higher_is_better else value - reference

    def classes(self, size: int) -> int:
        """How many classes an output of `size` numbers can tell apart: one number tells two, by its size."""
        return 2 if size == 1 and self.name == "auc" else size


def right(outputs: Outputs, labels: Array, most: int = 1) -> NDArray[np.float64]:
    """1 where the label is among the `most` largest numbers of the first output, else 0."""
    import numpy as np

    first = _flat(outputs)
    if most == 1:
        return np.asarray(first.argmax(axis=1) == labels.reshape(-1), np.float64)
    best = first.argsort(axis=1, kind="stable")[:, -most:]
    return np.asarray((best == labels.reshape(-1, 1)).any(axis=1), np.float64)


def absolute_error(outputs: Outputs, labels: Array) -> NDArray[np.float64]:
    """Each sample's mean absolute difference from its label."""
    import numpy as np

    first = _flat(outputs).astype(np.float64)
    return np.asarray(np.abs(first - labels.astype(np.float64).reshape(first.shape)).mean(axis=1))


def cosine(outputs: Outputs, labels: Array) -> NDArray[np.float64]:
    """Each sample's cosine of the angle between output and label, as vectors; 0 where one of them is zero."""
    import numpy as np

    first = _flat(outputs).astype(np.float64)
    wanted = labels.astype(np.float64).reshape(first.shape)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(wanted, axis=1)
    products = (first * wanted).sum(axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))


def f1(outputs: Outputs, labels: Array) -> float:
    """The mean over classes of 2TP / (2TP + FP + FN): macro F1, over the classes that occur."""
    import numpy as np

    first = _flat(outputs)
    count = first.shape[1]
    truth, answers = labels.reshape(-1).astype(np.int64), first.argmax(axis=1)
    told, meant = (np.bincount(a, minlength=count) for a in (answers, truth))
    hits = np.bincount(truth[truth == answers], minlength=count)
    occurs = (told + meant) > 0
    return float(np.mean(2 * hits[occurs] / (told + meant)[occurs]))


def auc(outputs: Outputs, labels: Array) -> float:
    """The area under the ROC curve: how often a sample of a class gets a higher score for it than another
    one, ties counting half. With more than two classes the mean over those of which there are samples and
    others.

    Of one number per sample a larger one means class 1. NaN where all samples are of one class.
    """
    import numpy as np

    first = _flat(outputs)
    truth = labels.reshape(-1)
    if first.shape[1] <= 2:
        return _area(first[:, -1], truth == 1)
    areas = [_area(first[:, k], truth == k) for k in np.unique(truth)]
    return float(np.mean(areas))


def _area(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Mann and Whitney's U by mean ranks, as a share of all pairs."""
    import numpy as np

    pairs = int(positive.sum()) * int((~positive).sum())
    if not pairs:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    above = ranks[place][positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(above / pairs)


def _flat(outputs: Outputs) -> Array:
    """The first output as [samples, numbers]."""
    first = next(iter(outputs.values()))
    return first.reshape(len(first), -1)


def _mean(scores: Callable[[Outputs, Array], NDArray[np.float64]], outputs: Outputs, labels: Array) -> float:
    return float(scores(outputs, labels).mean())


def _of_scores(
    name: str, scores: Callable[[Outputs, Array], NDArray[np.float64]], **fields: object
) -> Metric:
    return Metric(name, partial(_mean, scores), scores=scores, **fields)  # type: ignore[arg-type]  # Metric's own


METRICS: Mapping[str, Metric] = {
    "accuracy": _of_scores("accuracy", right, right=True),
    "top5": _of_scores("top5", partial(right, most=5), right=True),
    "f1": Metric("f1", f1),
    "auc": Metric("auc", auc, resamples=200),
    "cosine": _of_scores("cosine", cosine, labels="values"),
    "mae": _of_scores("mae", absolute_error, labels="values", higher_is_better=False),
}
"""And `top` with any other number from 2, see `find_metric`."""


def find_metric(name: str) -> Metric:
    """Raises SprueError for an unknown name."""
    if name in METRICS:
        return METRICS[name]
    if found := re.fullmatch(r"top([1-9]\d{0,3})", name):
        return _of_scores(name, partial(right, most=int(found[1])), right=True)
    raise SprueError(
        f"there is no metric '{name}'",
        remedy=f'{did_you_mean(name, METRICS)}; a metric of your own is "metrics.py:function"',
    )


def is_own(name: str) -> bool:
    """Whether the name is that of a function in a user's file."""
    return ":" in name
