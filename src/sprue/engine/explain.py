"""What a build would run, and why: the same keys as `run`, without running anything.

Once an action must run, the digests of what it makes are unknown, so what needs it can only be said to depend
on it: if its output turns out the same, they are cached after all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sprue.engine.action import Action, Output, graph
from sprue.engine.cache import Cache, Corrupt, Entry
from sprue.engine.key import Parts, changes, key, parts, path_digest


@dataclass(frozen=True)
class Forecast:
    """`reasons`: which parts of the key changed, or which actions it waits for.

    `seconds`: what it took last time; None for an action that never ran here.
    """

    action: str
    state: Literal["cached", "run", "depends"]
    reasons: tuple[str, ...]
    seconds: float | None


def explain(actions: Iterable[Action], cache: Cache) -> list[Forecast]:
    """A forecast for each action, in the order that they would be looked at.

    Raises SprueError when a source file cannot be read.
    """
    entries: dict[str, Entry] = {}
    found = []
    for action in graph(actions).values():
        waits = sorted(n for n in action.needs() if n not in entries)
        before = cache.last(action.name)
        seconds = before.seconds if before is not None else None
        if waits:
            found.append(Forecast(action.name, "depends", tuple(waits), seconds))
            continue
        named = parts(action, {name: _digest(i, entries) for name, i in action.inputs.items()})
        try:
            entry = cache.find(key(named))
            reasons = _reasons(cache.parts(before.key) if before is not None else None, named)
        except Corrupt as error:
            entry, reasons = None, (error.what,)
        if entry is None:
            found.append(Forecast(action.name, "run", reasons, seconds))
        else:
            entries[action.name] = entry
            found.append(Forecast(action.name, "cached", (), entry.seconds))
    return found


def _digest(source: Path | Output, entries: Mapping[str, Entry]) -> str:
    if isinstance(source, Output):
        return entries[source.action].digest_of(source.path)
    return path_digest(source)


def _reasons(before: Mapping[str, str] | None, now: Parts) -> tuple[str, ...]:
    if before is None:
        return ("no earlier run of it is known here",)
    return tuple(changes(dict(before), now)) or ("what it made is no longer in the cache",)
