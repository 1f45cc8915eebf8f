"""The gate of `sprue build --against`: nothing that is kept may be worse than in a bundle from before.

Figures that are the same everywhere come from the evidence of both. Times do not: the old artifact is loaded
and timed again, side by side with the new one. If the evaluation data are others, the old artifact answers
the new ones. What cannot be compared is said, and never counted as equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sprue.build import Build
from sprue.bundle.store import Store
from sprue.engine.cache import Cache
from sprue.engine.pool import Executor
from sprue.engine.run import Listener, Outcome, run
from sprue.engine.shared import Shared
from sprue.errors import SprueError
from sprue.evidence import findings
from sprue.history.rerun import Rerun
from sprue.report.data import Report
from sprue.report.find import find_bundle
from sprue.report.read import from_bundle, from_findings, hows
from sprue.report.versus import Row, not_asked_the_same, versus


@dataclass(frozen=True)
class Baseline:
    """A bundle from before. `hows`: of each target, how the artifact in it was made."""

    folder: Path
    report: Report
    hows: Mapping[str, Mapping[str, Any]]

    @property
    def reference(self) -> str:
        return f"{self.report.name}@{self.report.version}#{self.report.id[:12]}"


@dataclass(frozen=True)
class Line:
    """One figure of one target. `allowed`: by how much it may be worse."""

    row: Row
    allowed: float

    @property
    def ok(self) -> bool:
        # One ulp must not decide.
        worse = self.row.worse
        return worse is None or worse <= self.allowed + 1e-12 or not self.row.sure

    def json(self) -> dict[str, object]:
        figure = self.row.figure
        words = {
            "label": figure.label,
            "text": [figure.text(self.row.before), figure.text(self.row.after)],
            "change": self.row.change,
            "allowance": allowed(self),
        }
        return {**self.row.json(), **words, "allowed": self.allowed, "ok": self.ok}


@dataclass(frozen=True)
class Held:
    """What came of it. `notes`: what else is worse, or could not be held against anything."""

    against: str
    lines: tuple[Line, ...]
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.lost and all(line.ok for line in self.lines)

    @property
    def reasons(self) -> list[str]:
        """Why it is not ok, in words."""
        said = [
            f"{line.row.target}: {line.row.figure.label} {line.row.figure.text(line.row.before)} -> "
            f"{line.row.figure.text(line.row.after)}, {line.row.change}, allowed is {allowed(line)}"
            for line in self.lines
            if not line.ok
        ]
        return [*self.lost, *said]

    def json(self) -> dict[str, object]:
        said = {"against": self.against, "ok": self.ok, "reasons": self.reasons, "notes": list(self.notes)}
        return {**said, "lines": [line.json() for line in self.lines]}


def allowed(line: Line) -> str:
    return f"{line.allowed:g}" if line.row.figure.scale == "plain" else f"{100 * line.allowed:g} %"


def baseline(against: str, recipe: str, store: Store) -> Baseline:
    """The bundle that a recipe is held against. `against` may leave out its name: "@prod", ":prod", "@1.2.0".

    Raises SprueError when there is none, and CheckError when it is damaged.
    """
    place = f"{recipe}{against}" if against[:1] in ("@", ":") else against
    folder = find_bundle(place, store)
    report = from_bundle(folder)
    if report.name != recipe:
        raise SprueError(
            f"'{against}' is a bundle of '{report.name}', and cannot be compared with '{recipe}'",
            remedy=f"--against {recipe}@{report.version}; or, for each recipe its own: --against @prod",
        )
    return Baseline(folder, report, hows(folder))


def hold(
    builds: Sequence[Build],
    baselines: Mapping[str, Baseline],
    cache: Cache,
    pool: Executor,
    *,
    listen: Listener,
    shared: Shared | None = None,
) -> dict[str, Held]:
    """Hold each build that is ok against its baseline, by the recipe's name; measure again what must be."""
    begun = [_Side(b, baselines[b.recipe.name]) for b in builds if b.ok and b.recipe.name in baselines]
    known = {name: outcome for side in begun for name, outcome in side.build.outcomes.items()}
    actions = {a.name: a for side in begun for rerun in side.reruns.values() for a in rerun.actions()}
    outcomes = run(actions.values(), cache, pool, listen, known, shared=shared)
    return {side.build.recipe.name: side.held(outcomes, cache) for side in begun}


@dataclass(frozen=True)
class _Side:
    """A build and its baseline, side by side."""

    build: Build
    before: Baseline

    @cached_property
    def after(self) -> Report:
        return from_findings(findings(self.build), str(self.build.recipe.path))

    @cached_property
    def reruns(self) -> dict[str, Rerun]:
        """The old artifacts, by target."""
        kept = {t.id: t.kept for t in self.before.report.targets}
        other_data = bool(not_asked_the_same(self.before.report, self.after))
        found = {}
        for target in self.build.targets:
            name = target.choice.target.id
            old, how = kept.get(name), self.before.hows.get(name)
            if target.kept is not None and old is not None and how is not None:
                folder = self.before.folder / "targets" / name / "artifact"
                found[name] = Rerun(self.build, target, target.kept, folder, how, old.artifact, other_data)
        return found

    def held(self, outcomes: Mapping[str, Outcome], cache: Cache) -> Held:
        """What came of it."""
        gates = {t.choice.target.id: t.choice.gate for t in self.build.targets}
        lines: list[Line] = []
        lost: list[str] = []
        notes: list[str] = []
        for found in versus(self.before.report, self.after).targets:
            if found.before is None:
                notes.append(f"{found.id}: a new target, there is nothing to hold it against")
            elif found.after is None:
                gone = f"{found.id}: no longer a target of the recipe"
                notes += [] if self.build.recipe.partial else [gone]
            else:
                if (found.before.state, found.after.state) == ("verified", "prepared"):
                    lost.append(f"{found.id}: it was verified, and is only prepared")
                # A price is core-seconds times what one costs: it is not counted twice.
                for row in (r for r in found.rows if r.figure.key != "price"):
                    held, noise = self._measured(row, outcomes, cache)
                    lines.append(Line(held, getattr(gates[found.id], row.figure.word)))
                    notes += [f"{found.id}: noisy times: {noise}"] if noise else []
        return Held(self.before.reference, tuple(lines), tuple(lost), tuple(dict.fromkeys(notes)))

    def _measured(self, row: Row, outcomes: Mapping[str, Outcome], cache: Cache) -> tuple[Row, str]:
        """A row with what was measured anew, or the reason why it could not be; and why that is noisy."""
        if row.figure.exact and row.comparable:
            return row, ""
        if row.before is None or row.after is None:
            where = "there" if row.before is None else "here"
            return replace(row, comparable=False, note=f"not measured {where}"), ""
        rerun = self.reruns.get(row.target)
        both = (
            "the bundle does not say how it was made"
            if rerun is None
            else rerun.both(row.figure, outcomes, cache)
        )
        if isinstance(both, str):
            return replace(row, comparable=False, note=both), ""
        measured = replace(row, before=both.before, after=both.after, comparable=True, note="")
        return replace(measured, ratio=both.ratio, sure=both.sure), both.noise
