"""How sure the difference between two models is: their answers to the same samples, one by one.

The answers are what `verify` kept in the cache; a bundle holds too few of them. A metric of a user's own is
left out: it is code, and comparing runs none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprue.data import read_arrays
from sprue.engine.cache import Cache
from sprue.errors import SprueError
from sprue.history.last_build import last_build
from sprue.judging.certainty import quantile
from sprue.judging.margin import drop, tango
from sprue.judging.metric import Metric, find_metric, is_own
from sprue.report.compare import Margin

if TYPE_CHECKING:
    from sprue.judging.metric import Array


def margins(one: Path, other: Path, cache: Cache) -> dict[str, Margin]:
    """By target, of what the last builds of two recipes kept. Nothing where the answers are gone."""
    first, second = (last_build(cache.folder, path)["answers"] for path in (one, other))
    if first is None or second is None or first["metric"] != second["metric"] or is_own(first["metric"]):
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
        return paired(find_metric(first["metric"]), one, other, labels)
    except (SprueError, KeyError):
        return None


def _arrays(cache: Cache, sha: str) -> dict[str, Array]:
    """A file of arrays in the cache. Raises SprueError when it is gone or damaged."""
    cache.read(sha)
    return read_arrays(cache.blob(sha))


def paired(metric: Metric, one: Array, other: Array, labels: Array) -> Margin | None:
    """By how much the metric of `other` lies above that of `one`, both [samples, ...] for the same labels.

    Shares of right answers: Tango's interval at 95 %; others: a bootstrap's, at 90 %. None if not known.
    """
    if not len(one) == len(other) == len(labels):
        return None
    found = drop(metric, {"answers": one}, {"answers": other}, labels)
    if found.lost is not None and found.won is not None:
        low, high = tango(found.lost, found.won, len(labels), quantile(0.975))
        confidence = 0.95
    else:
        at_least, at_most = found.at_least[0.95], found.at_most[0.95]
        if at_least is None or at_most is None:
            return None
        low, high, confidence = at_least, at_most, 0.9
    return Margin(-high, -low, confidence) if metric.higher_is_better else Margin(low, high, confidence)
