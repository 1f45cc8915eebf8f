"""How many samples it takes to be sure, without NumPy: planning and judging ask this too."""

from __future__ import annotations

from math import inf
from statistics import NormalDist

CONFIDENCE = 0.95
FEWEST = 30
"""Samples of a half."""
LEVELS = (0.9, 0.95, 0.99)
"""Of the one-sided bounds that are kept: with this confidence a drop is not beyond them."""


def quantile(confidence: float) -> float:
    """The standard normal distribution's."""
    return NormalDist().inv_cdf(confidence)


def needed(most: float, confidence: float = CONFIDENCE) -> float:
    """Samples from which unchanged answers prove a drop of at most `most`; infinity where none suffice."""
    z = quantile(confidence)
    return inf if most <= 0 else max(1.0, z * z * (1 - most) / most)
