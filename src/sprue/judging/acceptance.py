"""Holding a drop of the metric against what a recipe accepts. Drops are those of `margin.py`, as JSON.

What passes: the drop as measured is within `max_drop`; and, if the recipe demands `confidence`, its upper
bound is too. Where it does not, a variant that passes is `proven` only if its bound is within `max_drop` at
95 %; otherwise tables and evidence say by how much more it may be worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from sprue.judging.certainty import CONFIDENCE, FEWEST, needed
from sprue.recipe import Accept

ULP = 1e-12
"""One bit of a mean must not decide."""


def judged_apart(halves: Mapping[str, Any] | None, accept: Accept) -> Mapping[str, Any] | None:
    """The halves, if each has enough samples to prove what is accepted; else None: all samples do both."""
    if halves is None:
        return None
    counts = [half["samples"] for half in halves.values()]
    return halves if enough_apart(counts, accept.max_drop, accept.confidence) else None


def enough_apart(counts: Iterable[int], max_drop: float, confidence: float | None) -> bool:
    """Whether each half has enough samples to prove what is accepted, and to say anything at all."""
    enough = max(FEWEST, needed(max_drop, confidence or CONFIDENCE))
    return all(count >= enough for count in counts)


def at_most(drop: Mapping[str, Any], accept: Accept) -> float | None:
    """What the drop does not exceed, with the recipe's confidence; None where that could not be found."""
    bound: float | None = drop["at_most"][f"{accept.confidence or CONFIDENCE:g}"]
    return bound


def decisive(drop: Mapping[str, Any], accept: Accept) -> float:
    """What is held against `max_drop`: the drop as measured, or the bound that the recipe demands."""
    bound = at_most(drop, accept) if accept.confidence is not None else None
    return float(drop["value"]) if bound is None else bound


def proves(drop: Mapping[str, Any], accept: Accept) -> bool:
    """Whether the drop is within what is accepted beyond doubt."""
    bound = at_most(drop, accept)
    return bound is not None and bound <= accept.max_drop + ULP


def drop_reason(name: str, drop: Mapping[str, Any], accept: Accept, part: str = "") -> list[str]:
    """Why a drop is not accepted; [] if it is. `part`: words for samples that are not all."""
    on = f"on {part}{drop['samples']} samples"
    if drop["value"] > accept.max_drop + ULP:
        return [
            f"{name} is {drop['value']:.4f} worse than the reference's {on}{_changed(drop)}; "
            f"allowed is {accept.max_drop:g}"
        ]
    if accept.confidence is None or proves(drop, accept):
        return []
    bound = at_most(drop, accept)
    may = "by how much more is not known" if bound is None else f"it may be up to {bound:.4f}"
    return [
        f"{name} is {drop['value']:.4f} worse than the reference's {on}{_changed(drop)}, and with "
        f"{accept.confidence:.0%} confidence {may}; allowed is {accept.max_drop:g}{_too_few(drop, accept)}"
    ]


def _changed(drop: Mapping[str, Any]) -> str:
    if drop["lost"] is None:
        return ""
    return f" ({drop['lost']} answers lost, {drop['won']} won)"


def _too_few(drop: Mapping[str, Any], accept: Accept) -> str:
    """Said where no artifact could ever prove it."""
    enough = needed(accept.max_drop, accept.confidence or CONFIDENCE)
    if drop["samples"] >= enough:
        return ""
    if accept.max_drop <= 0:
        return ". No number of samples proves a drop of 0: allow a little with max_drop"
    return f". So few samples cannot prove it, not even of the same answers: it takes {ceil(enough)}"
