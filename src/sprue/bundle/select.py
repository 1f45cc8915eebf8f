"""Which of a bundle's artifacts suits a machine: a pure function of what the manifest and the machine say.

Of the targets whose contract holds, the one that asks the most of the machine is the best: an artifact for
AVX512-VNNI before one for AVX2, an engine for this very GPU before a portable graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sprue.bundle.manifest import Strict, TargetEntry
from sprue.canonical import read_json
from sprue.errors import CheckError, SprueError, did_you_mean
from sprue.load import this_machine, unmet

MAX_MACHINE_BYTES = 2**20


@dataclass(frozen=True)
class Selection:
    """`fitting`: the best first. `refused`: target id -> every reason why it must not be loaded."""

    fitting: tuple[TargetEntry, ...]
    refused: Mapping[str, tuple[str, ...]]

    @property
    def best(self) -> TargetEntry:
        """Raises CheckError with all reasons when nothing fits."""
        if not self.fitting:
            lines = [f"{name}: {'; '.join(reasons)}" for name, reasons in self.refused.items()]
            raise CheckError("no artifact suits this machine:\n  " + "\n  ".join(lines))
        return self.fitting[0]


def select(targets: Sequence[TargetEntry], machine: Mapping[str, Any], family: str = "") -> Selection:
    """Hold each target's contract against `machine`, as `load.this_machine` describes one.

    `family`: only targets of it; raises SprueError when there is none. Executed artifacts come before those
    that were only prepared, then those that want an engine, then more features, then the manifest's order.
    """
    asked = [t for t in targets if family in ("", t.family)]
    if not asked:
        known = {t.family for t in targets}
        raise SprueError(f"there is no target of the family '{family}'", remedy=did_you_mean(family, known))
    reasons = {t.id: tuple(unmet(t.requires(), machine)) for t in asked}
    fitting = sorted((t for t in asked if not reasons[t.id]), key=_rank)
    return Selection(tuple(fitting), {name: why for name, why in reasons.items() if why})


class Machine(Strict):
    """A machine as `python3 load.py --machine` describes it. `features` null: not known."""

    os: str
    arch: str
    features: list[str] | None
    runtime: dict[str, str]
    engine: dict[str, str]


def read_machine(path: Path) -> dict[str, Any]:
    """The machine that a JSON file describes. Raises SprueError for what is none."""
    try:
        return Machine.model_validate(read_json(path, MAX_MACHINE_BYTES)).model_dump(mode="json")
    except OSError as error:
        raise SprueError(f"cannot read it: {error.strerror}", where=str(path)) from error
    except (ValidationError, ValueError) as error:
        said = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            said = f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}"
        raise SprueError(
            f"not the description of a machine: {said}", where=str(path), remedy="python3 load.py --machine"
        ) from error


def machine_for(targets: Sequence[TargetEntry]) -> dict[str, Any]:
    """This machine, with the versions of every package that one of the targets asks for."""
    packages = sorted({p for t in targets for p in t.contract.runtime})
    return this_machine(packages, gpu=any(t.contract.engine for t in targets))


def _rank(target: TargetEntry) -> tuple[bool, int, int]:
    return target.state != "verified", -len(target.contract.engine), -len(target.contract.features)
