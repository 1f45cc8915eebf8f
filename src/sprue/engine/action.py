"""An action: one cached step of a build. A graph is actions that name each other as inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Output:
    """An input that another action makes: a file or folder in its output, `""` for all of it."""

    action: str
    path: str = ""


@dataclass(frozen=True)
class Action:
    """`function` is "module:name", called as `function(inputs, params, out)` in a worker process.

    It reads the paths in `inputs`, writes into the empty folder `out`, and nothing else: same inputs,
    parameters and tools mean the same output. Raise `version` when the function's output changes.
    `alone`: nothing else runs meanwhile, because it measures time. `timeout` is in seconds.
    """

    name: str
    function: str
    version: int
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Path | Output] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False
    timeout: float = 600.0

    def needs(self) -> set[str]:
        """The names of the actions whose output this one reads."""
        return {i.action for i in self.inputs.values() if isinstance(i, Output)}


def graph(actions: Iterable[Action], known: Collection[str] = ()) -> dict[str, Action]:
    """The actions by name, each after those that it needs; those in `known` are done.

    Raises ValueError for a cycle or a missing action: a bug, not a user's mistake.
    """
    found: dict[str, Action] = {}
    for action in actions:
        if found.setdefault(action.name, action) != action:
            raise ValueError(f"two different actions are called {action.name!r}")
    missing = {n for a in found.values() for n in a.needs()} - found.keys() - set(known)
    if missing:
        raise ValueError(f"inputs that no action makes: {sorted(missing)}")
    order = TopologicalSorter({name: sorted(action.needs()) for name, action in found.items()})
    return {name: found[name] for name in order.static_order() if name in found}
