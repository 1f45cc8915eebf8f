"""How sure the difference between two models is: their answers to the same samples, one by one.

The answers are what `verify` kept in the cache; a bundle holds too few of them.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

from sprue.data import read_arrays
from sprue.engine.cache import Cache
from sprue.errors import SprueError
from sprue.last_build import last_build
from sprue.report.compare import Margin

if TYPE_CHECKING:
    from pathlib import Path

    from sprue.data import Array

Z = 1.959964
"""Of the standard normal distribution: 95 % lie within."""


def margins(one: Path, other: Path, cache: Cache) -> dict[str, Margin]:
    """By target, of what the last builds of two recipes kept. Nothing where the answers are gone."""
    first, second = (last_build(cache.folder, path)["answers"] for path in (one, other))
    if first is None or second is None or first["metric"] != second["metric"]:
        return {}
    found = {}
    for target in first["kept"].keys() & second["kept"].keys():
        margin = _margin(first, second, target, cache)
        if margin is not None:
            found[target] = margin
    return found


def _margin(first: dict[str, Any], second: dict[str, Any], target: str, cache: Cache) -> Margin | None:
    try:
        labels = _arrays(cache, first["labels"])["label"]
        one, other = (_arrays(cache, a["kept"][target])[a["output"]] for a in (first, second))
    except (SprueError, KeyError):
        return None
    return paired(first["metric"], one, other, labels)


def _arrays(cache: Cache, sha: str) -> dict[str, Array]:
    """A file of arrays in the cache. Raises SprueError when it is gone or damaged."""
    cache.read(sha)
    return read_arrays(cache.blob(sha))


def paired(metric: str, one: Array, other: Array, labels: Array) -> Margin | None:
    """The 95 % interval of the difference of two shares of right answers to the same samples.

    Wald's interval for paired proportions. None for a metric that is no such share.
    """
    if metric != "accuracy" or not len(one) == len(other) == len(labels):
        return None
    right = [a.reshape(len(a), -1).argmax(axis=1) == labels.reshape(-1) for a in (one, other)]
    lost, won, count = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()), len(labels)
    difference = (won - lost) / count
    half = Z * sqrt(max(lost + won - (won - lost) ** 2 / count, 0.0)) / count
    return Margin(difference - half, difference + half)
