"""The gate of `sprue build --against`: nothing that is kept may be worse than in a bundle from before.

Figures that are the same everywhere come from the evidence of both. Times do not: the old artifact is loaded
and timed again, side by side with the new one. If the evaluation data are others, the old artifact answers
the new ones. What cannot be compared is said, and never counted as equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sprue.backend import names
from sprue.build import Build, TargetBuild
from sprue.bundle.store import Store
from sprue.canonical import canonical, parse
from sprue.engine.action import Action
from sprue.engine.cache import Cache
from sprue.engine.pool import Executor
from sprue.engine.run import Listener, Outcome, run
from sprue.engine.shared import Shared
from sprue.errors import SprueError
from sprue.evidence import findings
from sprue.plan import Planned, measure
from sprue.report.data import Report, Tried
from sprue.report.figures import LATENCY
from sprue.report.find import find_bundle
from sprue.report.read import from_bundle, from_findings, hows
from sprue.report.versus import Row, not_asked_the_same, versus
from sprue.tools import backend_tools

OLD = "the old one"
"""What actions call the artifact from before; no variant has such a name."""


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
        return self.row.worse is None or self.row.worse <= self.allowed + 1e-12

    def json(self) -> dict[str, object]:
        figure = self.row.figure
        words = {
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
    known: dict[str, Outcome] = {}
    for side in begun:
        known |= side.build.outcomes
    actions = {a.name: a for side in begun for a in side.actions()}
    outcomes = run(actions.values(), cache, pool, listen, known, shared=shared)
    return {side.build.recipe.name: side.held(outcomes, cache) for side in begun}


@dataclass(frozen=True)
class _Side:
    """A build and its baseline, side by side."""

    build: Build
    before: Baseline

    @property
    def after(self) -> Report:
        return from_findings(findings(self.build), str(self.build.recipe.path))

    def actions(self) -> list[Action]:
        """What has to be measured anew: times of both artifacts; the old one's answers to other data."""
        asked_anew = bool(not_asked_the_same(self.before.report, self.after))
        found = []
        for target in self.build.targets:
            old = self._old(target)
            if target.kept is None or old is None:
                continue
            timed = None not in (LATENCY.get(old.tried), target.kept.result.latency)
            if timed and not self._same(target):
                found.append(self._side_by_side(target, target.kept.planned, old))
            if asked_anew:
                found.append(self._again(target, target.kept.planned, old))
        return found

    def _old(self, target: TargetBuild) -> _Old | None:
        """The old artifact for a target; None if there is none, or none that a backend here knows."""
        name = target.choice.target.id
        how = self.before.hows.get(name)
        tried = next((t.kept for t in self.before.report.targets if t.id == name), None)
        if how is None or tried is None or how.get("backend") not in names():
            return None
        return _Old(self.before.folder / "targets" / name / "artifact", how, tried)

    def _same(self, target: TargetBuild) -> bool:
        """Whether both are one artifact, run in one way: then it is as fast as it is."""
        old, kept = self._old(target), target.kept
        if old is None or kept is None or kept.artifact is None:
            return False
        now = {k: v for k, v in asdict(kept.planned.variant).items() if k != "target"}
        return old.tried.artifact == kept.artifact.digest_of("") and canonical(old.how) == canonical(now)

    def _name(self, target: TargetBuild, step: str) -> str:
        return f"{self.build.recipe.name}/{target.choice.target.id}/against/{step}"

    def _side_by_side(self, target: TargetBuild, planned: Planned, old: _Old) -> Action:
        """The action that times the new artifact, with the old one in its rounds."""
        joint = measure(self.build.plan, target.choice, [planned])
        variants = joint.params["variants"]
        old_one = {OLD: old.variant(variants[planned.variant.id])}
        return replace(
            joint,
            name=self._name(target, "measure"),
            inputs={**joint.inputs, OLD: old.folder},
            params={**joint.params, "variants": {**variants, **old_one}},
            tools={**joint.tools, **old.tools()},
        )

    def _again(self, target: TargetBuild, planned: Planned, old: _Old) -> Action:
        """The action that verifies the new artifact, with the old one in its place."""
        verify = self.build.outcomes[planned.verify].action
        return replace(
            verify,
            name=self._name(target, "verify"),
            inputs={**verify.inputs, "artifact": old.folder},
            params={**verify.params, "variant": old.variant(verify.params["variant"])},
            tools={**verify.tools, **old.tools()},
        )

    def held(self, outcomes: Mapping[str, Outcome], cache: Cache) -> Held:
        """What came of it."""
        targets = {t.choice.target.id: t for t in self.build.targets}
        lines: list[Line] = []
        lost: list[str] = []
        notes: list[str] = []
        for found in versus(self.before.report, self.after).targets:
            if found.after is None:
                notes += (
                    [] if self.build.recipe.partial else [f"{found.id}: no longer a target of the recipe"]
                )
                continue
            if found.before is None:
                notes.append(f"{found.id}: a new target, there is nothing to hold it against")
                continue
            if (found.before.state, found.after.state) == ("verified", "prepared"):
                lost.append(f"{found.id}: it was verified, and is only prepared")
            target = targets[found.id]
            for row in found.rows:
                measured = self._measured(row, target, outcomes, cache)
                lines.append(Line(measured, getattr(target.choice.gate, row.figure.word)))
        return Held(self.before.reference, tuple(lines), tuple(lost), tuple(notes))

    def _measured(self, row: Row, target: TargetBuild, outcomes: Mapping[str, Outcome], cache: Cache) -> Row:
        """A row with what was measured anew, or the reason why it could not be."""
        if row.figure.exact and row.comparable:
            return row
        if row.before is None or row.after is None:
            return replace(
                row, comparable=False, note=f"not measured {'there' if row.before is None else 'here'}"
            )
        if row.figure.word != "metric" and self._same(target):
            return replace(row, before=row.after, comparable=True, note="")
        step, file = (
            ("verify", "verdict.json") if row.figure.word == "metric" else ("measure", "measurement.json")
        )
        outcome = outcomes.get(self._name(target, step))
        if outcome is None or outcome.entry is None:
            failure = (
                outcome.failure.what if outcome is not None and outcome.failure else "its backend is unknown"
            )
            return replace(row, comparable=False, note=f"the old artifact cannot be run here: {failure}")
        found = parse(cache.read(outcome.entry.files[file]))
        if step == "verify":
            return replace(row, before=found["metric"]["value"], comparable=True, note="")
        assert target.kept is not None
        before, after = (found[name]["best"] for name in (OLD, target.kept.planned.variant.id))
        return replace(row, before=before, after=after, comparable=True, note="")


@dataclass(frozen=True)
class _Old:
    """The old artifact for a target, and how it was made."""

    folder: Path
    how: Mapping[str, Any]
    tried: Tried

    def variant(self, new: Mapping[str, Any]) -> dict[str, Any]:
        """It as JSON, on the target of the new one."""
        return {**self.how, "target": new["target"]}

    def tools(self) -> Mapping[str, str]:
        return backend_tools(self.how["backend"])
