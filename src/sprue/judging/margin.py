"""How sure a metric is: intervals of its value, and of how much worse one model is than another on the same
samples.

- Shares of right answers: Wilson's score interval for the value, Tango's score interval for paired shares for
  the drop (T. Tango, Statistics in Medicine 17, 1998). Unlike a bootstrap they know that 20 right answers of
  20 prove little. Tango's test of "no drop" is McNemar's test.
- Everything else: a percentile bootstrap over samples with a fixed seed; for a drop both models on the same
  resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sprue.errors import SprueError
from sprue.judging.certainty import CONFIDENCE, FEWEST, LEVELS, quantile

if TYPE_CHECKING:
    from sprue.judging.metric import Array, Metric, Outputs

SEED = 0
LOST = 0.1
"""The share of resamples on which a metric may be undefined; beyond it the interval is unknown."""

Draw = Callable[[NDArray[np.int64]], float]


@dataclass(frozen=True)
class Value:
    """A metric with its two-sided 95 % interval; None where it could not be found."""

    value: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": _short(self.low), "high": _short(self.high)}


@dataclass(frozen=True)
class Drop:
    """How much worse a metric is than the reference's on the same `samples`; negative: better.

    With confidence c the true drop is at least `at_least[c]`, and, each for itself, at most `at_most[c]`.
    `lost`, `won`: samples that only the reference answers rightly, and that only the other does; None for
    other metrics.
    """

    value: float
    samples: int
    at_least: Mapping[float, float | None]
    at_most: Mapping[float, float | None]
    lost: int | None = None
    won: int | None = None

    def to_json(self) -> dict[str, Any]:
        bounds = {
            name: {f"{level:g}": _short(bound) for level, bound in given.items()}
            for name, given in (("at_least", self.at_least), ("at_most", self.at_most))
        }
        return {"value": self.value, "samples": self.samples, "lost": self.lost, "won": self.won, **bounds}


def value(metric: Metric, outputs: Outputs, labels: Array) -> Value:
    """Raises what the metric raises."""
    found = metric.compute(outputs, labels)
    if metric.right:
        low, high = wilson(round(found * len(labels)), len(labels), quantile((1 + CONFIDENCE) / 2))
        return Value(found, low, high)
    drawn = _bootstrap(len(labels), metric.resamples, _draws(metric, outputs, labels))
    tail = (1 - CONFIDENCE) / 2
    return Value(found, _quantile(drawn, tail), _quantile(drawn, 1 - tail))


def drop(metric: Metric, reference: Outputs, outputs: Outputs, labels: Array) -> Drop:
    """How much worse `outputs` are than `reference`, both [samples, ...] for the same samples."""
    count = len(labels)
    whole = metric.drop(metric.compute(reference, labels), metric.compute(outputs, labels))
    if metric.right and metric.scores is not None:
        before, after = (metric.scores(o, labels) > 0.5 for o in (reference, outputs))
        lost, won = int((before & ~after).sum()), int((after & ~before).sum())
        bounds = {level: tango(lost, won, count, quantile(level)) for level in LEVELS}
        low, high = ({level: pair[i] for level, pair in bounds.items()} for i in (0, 1))
        return Drop(whole, count, low, high, lost, won)
    first, second = _draws(metric, reference, labels), _draws(metric, outputs, labels)
    drawn = _bootstrap(count, metric.resamples, lambda rows: metric.drop(first(rows), second(rows)))
    at_least = {level: _quantile(drawn, 1 - level) for level in LEVELS}
    return Drop(whole, count, at_least, {level: _quantile(drawn, level) for level in LEVELS})


def halves(
    metric: Metric, reference: Outputs, outputs: Outputs, labels: Array, judging: NDArray[np.bool_]
) -> dict[str, Any] | None:
    """The drop on the samples that variants are chosen on, and on those that the chosen one is judged on.

    None where a half is too small to say anything, or the metric is undefined on it.
    """
    made = {}
    for name, rows in (("choosing", ~judging), ("judging", judging)):
        if rows.sum() < FEWEST:
            return None
        before, after = ({n: a[rows] for n, a in given.items()} for given in (reference, outputs))
        try:
            found = drop(metric, before, after, labels[rows])
        except SprueError:
            return None
        if not isfinite(found.value):
            return None
        made[name] = found.to_json()
    return made


def wilson(hits: int, count: int, z: float) -> tuple[float, float]:
    """The score interval of a share (E. B. Wilson, 1927)."""
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def tango(lost: int, won: int, count: int, z: float) -> tuple[float, float]:
    """The score interval of (lost - won) / count: the differences that the test at `z` does not reject."""

    def score(difference: float) -> float:
        """Falls as `difference` grows."""
        over = lost - won - count * difference
        a, c = 2 * count, -won * difference * (1 - difference)
        b = -lost - won + (2 * count - lost + won) * difference
        rare = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = count * (2 * rare + difference * (1 - difference))
        if variance <= 0:
            return 0.0 if over == 0 else inf if over > 0 else -inf
        return over / sqrt(variance)

    here = (lost - won) / count
    return _root(lambda d: score(d) - z, -1.0, here), _root(lambda d: score(d) + z, here, 1.0)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function is zero, to the last bits that matter."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def _draws(metric: Metric, outputs: Outputs, labels: Array) -> Draw:
    """The metric of some rows."""
    if metric.scores is not None:
        scores = metric.scores(outputs, labels)
        return lambda rows: float(scores[rows].mean())

    def whole(rows: NDArray[np.int64]) -> float:
        return metric.compute({name: array[rows] for name, array in outputs.items()}, labels[rows])

    return whole


def _bootstrap(count: int, resamples: int, draw: Draw) -> NDArray[np.float64]:
    """`draw` of as many rows as there are, drawn with replacement, again and again. Undefined ones are left
    out.
    """
    rng = np.random.Generator(np.random.PCG64(SEED))
    found = []
    for _ in range(resamples):
        rows = rng.integers(0, count, count)
        try:
            found.append(draw(rows))
        except Exception:  # a metric may need more of a resample than is in it, and says so as it likes
            found.append(float("nan"))
    kept = np.array([f for f in found if isfinite(f)])
    return kept if len(kept) >= (1 - LOST) * resamples else kept[:0]


def _quantile(drawn: NDArray[np.float64], share: float) -> float | None:
    return float(np.quantile(drawn, share)) if len(drawn) else None


def _short(bound: float | None) -> float | None:
    """Six digits: of more nobody could say what they mean."""
    return None if bound is None else float(f"{bound:.6g}") + 0.0
