"""Times of artifacts, and which of two is faster: pure functions of what `measure.py` measured.

Candidates are timed in rounds, all of them in each round, so two of them are compared round by round: what
disturbs a round disturbs both. The ratio is the median of the rounds' ratios, and its interval that of the
sign test, which assumes nothing of how the noise is distributed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, inf
from statistics import median

CONFIDENCE = 0.95
INDIFFERENT = 0.02
"""Of the latency: who is slower by less than this is not worth preferring."""
AGREED = 0.01
"""How far from their median rounds may lie that agree."""


@dataclass(frozen=True)
class Timing:
    """Seconds, of one sample. `rounds` holds the median of each round, in order.

    `best`: the smallest of `rounds`, what the artifact needs when little disturbs it. `load`: the median of
    a few loads, after the imports. `cpu`: core-seconds of one inference, user and system, of all threads.
    """

    load: float
    best: float
    p50: float
    p95: float
    minimum: float
    cpu: float
    runs: int
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """`ratio`: how many times as long the second takes. It lies within low..high with some confidence."""

    ratio: float
    low: float
    high: float

    @property
    def slower(self) -> bool:
        """Whether the second is slower beyond doubt, and by enough to matter."""
        return self.low > 1 and self.ratio > 1 + INDIFFERENT


def compare(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Comparison:
    """Two artifacts by the medians of the rounds that both were timed in, in the same order."""
    ratios = sorted(b / a for a, b in zip(first, second, strict=True))
    low = _rank(len(ratios), confidence)
    if low == 0:
        return Comparison(median(ratios), 0.0, inf)
    return Comparison(median(ratios), ratios[low - 1], ratios[-low])


def undisputed(timed: Sequence[Sequence[float]]) -> bool:
    """Whether one artifact was faster than each other in every round, and by enough to matter.

    Of 12 rounds all say so of one that is not faster once in 4096 times.
    """
    fastest, *others = sorted(timed, key=median)
    return all(b > a * (1 + INDIFFERENT) for rounds in others for a, b in zip(fastest, rounds, strict=True))


def agree(rounds: Sequence[float]) -> bool:
    """Whether further rounds would say the same: all of them lie close to their median."""
    middle = median(rounds)
    return all(abs(r - middle) <= AGREED * middle for r in rounds)


def _rank(count: int, confidence: float) -> int:
    """The rank k, from 1, for which the median lies between the k-th smallest and the k-th largest of `count`
    values with `confidence`; 0 if there are too few. The number of values below the median is binomial.
    """
    tail, rank = 0.0, 0
    while rank < count // 2:
        tail += comb(count, rank) / 2**count
        if tail > (1 - confidence) / 2:
            break
        rank += 1
    return rank
