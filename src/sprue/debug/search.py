"""Which tensor is the first to leave the reference, and how little of the network shows it. Pure: it asks.

If the network can be built with every tensor as an output, one look shows all of them. Where it cannot, or
where the fault vanishes when it is looked at (fusions are undone, a tensor stays in float), the graph is
bisected: pieces from the inputs to one tensor, until one is right and the next is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Method = Literal["exposed", "bisection"]

LEVELS = (1, 2, 4, 8, 16, 32)
"""Nodes that a piece goes back from its result, before it is all of the network up to there."""


@dataclass(frozen=True)
class First:
    """The first bad tensor, and the last good one before it ("" if there is none)."""

    tensor: str
    before: str
    method: Method


def first_exposed(names: Sequence[str], bad: Callable[[str], bool]) -> First | None:
    """The first bad one of `names`, which are in the order of the graph."""
    for index, name in enumerate(names):
        if bad(name):
            return First(name, names[index - 1] if index else "", "exposed")
    return None


def bisect(names: Sequence[str], bad: Callable[[str], bool]) -> First | None:
    """A bad tensor whose predecessor in `names` is good; None if the last one is good.

    Asks about log2(len(names)) + 1 of them. Errors can vanish again (a Relu, a clip), so there may be an
    earlier one.
    """
    if not names or not bad(names[-1]):
        return None
    good, wrong = -1, len(names) - 1
    while wrong - good > 1:
        middle = (good + wrong) // 2
        if bad(names[middle]):
            wrong = middle
        else:
            good = middle
    return First(names[wrong], names[good] if good >= 0 else "", "bisection")


def smallest(
    edges: Callable[[int], tuple[str, ...]], bad: Callable[[tuple[str, ...]], bool]
) -> tuple[str, ...]:
    """The edge of the smallest bad piece: `edges` gives what a piece of so many levels takes.

    When no piece is bad until the edge stops moving, all of the network up to there is the answer.
    """
    edge: tuple[str, ...] = ()
    for level in LEVELS:
        wider = edges(level)
        if wider == edge:
            break
        edge = wider
        if bad(edge):
            return edge
    return edges(1 << 30)
