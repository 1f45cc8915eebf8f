"""The ratchet: figures of what is kept for each target, committed beside the recipes, and what differs now.

    recipes/ratchet.json    sorted, one figure a line, so that a review shows what changed

A loss is a regression that no gate was asked about. An improvement that nobody can explain is as suspicious:
a metric that rises by itself was measured wrongly before, or is now. Both are flagged; `updated` writes the
new figures with a reason. Latency is kept as a ratio to the float variant that was timed in the same rounds:
another machine can be held against it, if only roughly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from sprue.bundle.manifest import Strict
from sprue.canonical import read_json
from sprue.durable import write_file
from sprue.errors import CheckError, SprueError
from sprue.measuring.timing import compare
from sprue.report.data import Report, TargetReport, Tried

FILE = "ratchet.json"
MAX_BYTES = 64 * 2**20

Finite = Annotated[float, Field(allow_inf_nan=False)]
Part = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class Tolerance(Strict):
    """What counts as no change: of the metric as it is, of the rest in parts of the committed figure."""

    instructions: Part = 0.01
    latency_ratio: Part = 0.15
    metric: Part = 0.002
    size: Part = 0.01


class Figures(Strict):
    """Of what is kept for one target. `size` in bytes; `latency_ratio`: to `baseline`; None: not known."""

    baseline: str | None = None
    instructions: Annotated[int, Field(ge=0)] | None = None
    latency_ratio: Part | None = None
    metric: Finite | None = None
    size: Annotated[int, Field(ge=0)] | None = None
    variant: str


class Committed(Strict):
    """The figures of one recipe, by target, and why they are so."""

    reason: str
    targets: dict[str, Figures]


class RatchetFile(Strict):
    schema_: Literal["sprue-ratchet/1"] = Field(alias="schema")
    tolerance: Tolerance = Field(default_factory=Tolerance)
    recipes: dict[str, Committed] = Field(default_factory=dict)


NUMBERS = ("metric", "size", "latency_ratio", "instructions")
Kind = Literal["worse", "better", "other", "new", "gone"]


@dataclass(frozen=True)
class Change:
    """One figure of one target that is not as committed. None: there is none."""

    recipe: str
    target: str
    figure: str
    committed: float | str | None
    now: float | str | None
    kind: Kind


def figures(report: Report) -> dict[str, Figures]:
    """What is kept for each target. Raises CheckError when the build did not hold."""
    if not report.ok:
        lost = ", ".join(t.id for t in report.targets if t.kept is None)
        what = report.error or f"no variant passed for {lost}"
        remedy = "`sprue build` says what does not hold"
        raise CheckError(f"its last build failed: {what}", where=report.name, remedy=remedy)
    return {t.id: _figures(t, t.kept) for t in report.targets if t.kept is not None}


def _figures(target: TargetReport, kept: Tried) -> Figures:
    plain, ratio = target.float, None
    if plain is not None and plain.timing is not None and kept.timing is not None:
        rounds = plain.timing.rounds, kept.timing.rounds
        if len(rounds[0]) == len(rounds[1]) > 0:
            ratio = float(f"{compare(*rounds).ratio:.3g}")
    return Figures(
        baseline=None if ratio is None or plain is None else plain.variant,
        instructions=kept.instructions,
        latency_ratio=ratio,
        metric=None if kept.metric is None else float(f"{kept.metric:.6g}"),
        size=kept.bytes,
        variant=kept.variant,
    )


def noisy(report: Report) -> list[str]:
    """The targets whose times cannot be trusted, each with the reason."""
    return [f"{t.id}: {t.kept.noise}" for t in report.targets if t.kept is not None and t.kept.noise]


def changes(file: RatchetFile, report: Report, now: Mapping[str, Figures]) -> list[Change]:
    """What is not as committed, beyond the file's tolerance."""
    name = report.name
    known = file.recipes[name].targets if name in file.recipes else {}
    better = {"metric"} if report.reference is None or report.reference.higher_is_better else set[str]()
    found: list[Change] = []
    for target, mine in now.items():
        if target not in known:
            found.append(Change(name, target, "variant", None, mine.variant, "new"))
        else:
            found += _changes(name, target, known[target], mine, file.tolerance, better)
    if not report.partial:
        gone = [t for t in known if t not in now]
        found += [Change(name, t, "variant", known[t].variant, None, "gone") for t in gone]
    return found


def _changes(
    recipe: str, target: str, old: Figures, new: Figures, tolerance: Tolerance, better: set[str]
) -> Iterator[Change]:
    if old.variant != new.variant:
        yield Change(recipe, target, "variant", old.variant, new.variant, "other")
    for figure in NUMBERS:
        before, after = getattr(old, figure), getattr(new, figure)
        if before is None and after is None:
            continue
        if before is None or after is None:
            yield Change(recipe, target, figure, before, after, "new" if before is None else "gone")
        elif abs(after - before) > getattr(tolerance, figure) * (1 if figure == "metric" else before) + 1e-12:
            rises = (after > before) == (figure in better)
            yield Change(recipe, target, figure, before, after, "better" if rises else "worse")


def read_ratchet(path: Path) -> RatchetFile | None:
    """The committed figures; None when there is no file. Raises SprueError for one that is not valid."""
    try:
        return RatchetFile.model_validate(read_json(path, MAX_BYTES))
    except FileNotFoundError:
        return None
    except (ValidationError, ValueError) as error:
        said = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        remedy = "put right what is named, or delete the file and run with --update --reason"
        raise SprueError(f"not a valid ratchet: {said}", where=str(path), remedy=remedy) from error


def updated(
    file: RatchetFile, report: Report, now: Mapping[str, Figures], changed: list[Change], reason: str
) -> RatchetFile:
    """With the figures of the targets that changed; what is within tolerance stays as it was committed."""
    if not changed:
        return file
    known = file.recipes[report.name].targets if report.name in file.recipes else {}
    touched = {c.target for c in changed}
    targets = {t: f for t, f in known.items() if t not in touched}
    targets |= {t: f for t, f in now.items() if t in touched}
    recipes = {**file.recipes, report.name: Committed(reason=reason, targets=targets)}
    return file.model_copy(update={"recipes": recipes})


def write_ratchet(path: Path, file: RatchetFile) -> None:
    """Sorted, indented, without what is not known: the same figures give the same bytes."""
    value = file.model_dump(mode="json", by_alias=True, exclude_none=True)
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_file(path, text.encode() + b"\n", mode=0o644)


def empty() -> RatchetFile:
    return RatchetFile(schema="sprue-ratchet/1")
