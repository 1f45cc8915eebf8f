"""How long each recipe took for each target: what the cache kept of its last builds, and earlier shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sprue.ci.shard_file import ShardFile
from sprue.engine.cache import Cache
from sprue.history.last_build import action_seconds
from sprue.recipe import Recipe

Durations = Mapping[tuple[str, str], float]
"""(recipe's name, target's id) -> seconds. What never ran is not in it."""


def remembered(recipes: Iterable[Recipe], cache: Cache) -> Durations:
    """The seconds of a target's own actions, and of those that targets share: they run wherever one does."""
    found: dict[tuple[str, str], float] = {}
    for recipe in recipes:
        seconds = action_seconds(cache.folder, recipe.path)
        targets = [c.target.id for c in recipe.choices]
        of_targets = {t: _sum(seconds, f"{recipe.name}/{t}/") for t in targets}
        shared = sum(seconds.values()) - sum(of_targets.values())
        found |= {(recipe.name, t): round(own + shared, 3) for t, own in of_targets.items() if own}
    return found


def _sum(seconds: Mapping[str, float], prefix: str) -> float:
    return sum(s for name, s in seconds.items() if name.startswith(prefix))


def recorded(shards: Iterable[ShardFile]) -> Durations:
    """The same from shard records of an earlier run."""
    return {(part.name, target): part.seconds for s in shards for part in s.parts for target in part.targets}
