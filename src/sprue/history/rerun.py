"""An artifact from a bundle, run again beside the one that a build kept: on this machine, in the same rounds.

What it was measured to be on another day or machine says nothing about how the two compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sprue.backend import names
from sprue.build import Build, TargetBuild, Tried
from sprue.canonical import canonical, parse
from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.run import Outcome
from sprue.measuring.timing import compare
from sprue.plan import measure, memory
from sprue.report.figures import CPU, LATENCY, MEMORY, Figure
from sprue.tools import backend_tools

OLD = "the old one"
"""What actions call the artifact from before; no variant has such a name."""


@dataclass(frozen=True)
class Both:
    """One figure of both. `ratio`, `sure`: of times, see `timing.Comparison`. `noise`: why they are noisy."""

    before: float
    after: float
    ratio: float | None = None
    sure: bool = True
    noise: str = ""


@dataclass(frozen=True)
class Rerun:
    """The old artifact for a target, in `folder`, and what was kept now. `how`: how the old one was made.

    `digest`: of the old artifact's files. `other_data`: the evaluation data are not those of the old bundle.
    """

    build: Build
    target: TargetBuild
    kept: Tried
    folder: Path
    how: Mapping[str, Any]
    digest: str | None
    other_data: bool

    @property
    def same(self) -> bool:
        """Whether both are one artifact, run in one way: then it is as fast as it is."""
        now = {k: v for k, v in self.kept.planned.variant.to_json().items() if k != "target"}
        files = None if self.kept.artifact is None else self.kept.artifact.digest_of("")
        return files is not None and files == self.digest and canonical(self.how) == canonical(now)

    @property
    def known(self) -> bool:
        """Whether a backend here is the one that made it."""
        return self.how.get("backend") in names()

    def actions(self) -> list[Action]:
        """What has to be run for it."""
        if not self.known:
            return []
        timed = self.kept.result.timing is not None and not self.same
        return [
            *([self._measure(), self._memory()] if timed else []),
            *([self._verify()] if self.other_data else []),
        ]

    def both(self, figure: Figure, outcomes: Mapping[str, Outcome], cache: Cache) -> Both | str:
        """A figure of the two artifacts; or why there is none, in words."""
        if figure.word != "metric" and self.same:
            value = self._own(figure)
            return "it was not measured here" if value is None else Both(value, value)
        step, file = {
            "metric": ("verify", "verdict.json"),
            MEMORY.key: ("memory", "memory.json"),
        }.get(figure.key, ("measure", "measurement.json"))
        outcome = outcomes.get(self._name(step))
        if outcome is None or outcome.entry is None:
            return f"the old artifact cannot be run here: {self._hindrance(outcome)}"
        found = parse(cache.read(outcome.entry.files[file]))
        if step == "verify":
            assert self.kept.result.metric is not None
            return Both(found["metric"]["value"], self.kept.result.metric)
        if step == "memory":
            after = self._own(MEMORY)
            return "it was not measured here" if after is None else Both(found["peak_memory"], after)
        return self._timed(figure, found)

    def _hindrance(self, outcome: Outcome | None) -> str:
        if not self.known:
            return "its backend is unknown"
        return outcome.failure.what if outcome is not None and outcome.failure else "nothing here runs it"

    def _timed(self, figure: Figure, found: Mapping[str, Any]) -> Both:
        old, new = (found["variants"][n]["timing"] for n in (OLD, self.kept.planned.variant.id))
        noise = found["conditions"]["noise"]
        if figure is CPU:
            return Both(old["cpu"], new["cpu"], noise=noise)
        compared = compare(old["rounds"], new["rounds"])
        return Both(old["p50"], new["p50"], compared.ratio, compared.slower, noise)

    def _own(self, figure: Figure) -> float | None:
        measured = self.kept.result.measured
        if figure is MEMORY:
            return measured.peak_memory
        if measured.timing is None:
            return None
        return measured.timing.p50 if figure is LATENCY else measured.timing.cpu

    def _name(self, step: str) -> str:
        return f"{self.build.recipe.name}/{self.target.choice.target.id}/against/{step}"

    def _measure(self) -> Action:
        """The action that times the new artifact, with the old one in its rounds."""
        new = self.kept.planned.variant.id
        joint = measure(self.build.plan, self.target.choice, [self.kept.planned], [new])
        variants = {**joint.params["variants"], OLD: self._variant(joint.params["variants"][new])}
        inputs = {**joint.inputs, OLD: self.folder}
        params = {"variants": variants, "timed": [new, OLD]}
        return self._named(replace(joint, inputs=inputs, params=params), "measure")

    def _memory(self) -> Action:
        """The action that measures the new artifact's memory, with the old one in its place.

        After `measure`, where the backend has refused what is not to be trusted: the loader trusts.
        """
        action = self._in_its_place(memory(self.build.plan, self.kept.planned), "memory")
        return replace(action, inputs={**action.inputs, "opened": Output(self._name("measure"))})

    def _verify(self) -> Action:
        """The action that verifies the new artifact, with the old one in its place."""
        return self._in_its_place(self.build.outcomes[self.kept.planned.verify].action, "verify")

    def _in_its_place(self, action: Action, step: str) -> Action:
        params = {**action.params, "variant": self._variant(action.params["variant"])}
        inputs = {**action.inputs, "artifact": self.folder}
        return self._named(replace(action, inputs=inputs, params=params), step)

    def _named(self, action: Action, step: str) -> Action:
        tools = {**action.tools, **backend_tools(self.how["backend"], self.kept.planned.variant.target)}
        return replace(action, name=self._name(step), tools=tools)

    def _variant(self, new: Mapping[str, Any]) -> dict[str, Any]:
        """It as JSON, on the target of the new one."""
        return {**self.how, "target": new["target"]}
