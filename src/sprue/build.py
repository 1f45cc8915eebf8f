"""One build: plan, run, judge, select. What comes of it is a `Build`; freezing it is `snapshot.py`'s job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sprue.canonical import parse
from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache, Entry
from sprue.engine.run import Failure, Listener, Outcome, run
from sprue.errors import CheckError, SprueError
from sprue.plan import Plan, Planned, plan
from sprue.recipe import Choice, Recipe
from sprue.select import Result, judge, select


@dataclass(frozen=True)
class Tried:
    """A variant, what became of it, and the cache entries that hold what was made (None: not made)."""

    planned: Planned
    result: Result
    artifact: Entry | None = None
    verdict: Entry | None = None
    measurement: Entry | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class TargetBuild:
    choice: Choice
    tried: tuple[Tried, ...]
    kept: Tried | None


@dataclass(frozen=True)
class Build:
    """`parity` compares the kept artifacts' outputs; None when there was nothing to compare."""

    plan: Plan
    targets: tuple[TargetBuild, ...]
    reference: Mapping[str, Any]
    parity: Mapping[str, Any] | None
    outcomes: Mapping[str, Outcome]

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def ok(self) -> bool:
        """Every target has an artifact, and nothing broke on the way."""
        return all(t.kept is not None for t in self.targets) and not any(
            tried.result.broken for t in self.targets for tried in t.tried
        )


def build(
    recipe: Recipe,
    cache: Cache,
    *,
    jobs: int,
    threads: int,
    timeout: float,
    listen: Listener = lambda _: None,
) -> Build:
    """Build every variant of the recipe and choose. A variant that fails is part of the result.

    Raises SprueError for what is wrong with the model or its data: then there is nothing to choose from.
    """
    made = plan(recipe, timeout=timeout)
    outcomes = run(made.actions, cache, jobs=jobs, threads=threads, listen=listen)
    for name in (made.source, made.reference, made.calibration):
        if name and (failure := outcomes[name].failure):
            raise _as_error(failure)
    entry = _entry(outcomes, made.reference)
    reference = _json(cache, entry, "metric.json")
    targets = []
    for choice in recipe.choices:
        tried = tuple(_tried(p, outcomes, cache, reference) for p in made.variants if p.choice is choice)
        kept = select([t.result for t in tried], choice.prefer)
        targets.append(TargetBuild(choice, tried, next((t for t in tried if t.result is kept), None)))
    parity, more = _parity(made, targets, cache, reference["output"], listen)
    return Build(made, tuple(targets), reference, parity, {**outcomes, **more})


def _tried(
    planned: Planned, outcomes: Mapping[str, Outcome], cache: Cache, reference: Mapping[str, Any]
) -> Tried:
    variant = planned.variant
    if planned.missing is not None:
        return Tried(planned, Result(variant, "failed", str(planned.missing), broken=True))
    check, compiled, verify, measure = (
        outcomes[n] for n in (planned.check, planned.compile, planned.verify, planned.measure)
    )
    failure = check.failure or compiled.failure or verify.failure or measure.failure
    if failure is not None:
        reason = failure.what if failure.refused else f"{_step(failure.action)}: {failure.what}"
        result = Result(variant, "failed", reason, broken=not failure.refused)
        return Tried(planned, result, compiled.entry, verify.entry, measure.entry, failure)
    artifact, verdict, measurement = (_present(o.entry) for o in (compiled, verify, measure))
    result = judge(
        variant,
        _json(cache, verdict, "verdict.json"),
        _json(cache, measurement, "measurement.json"),
        cache.size(artifact),
        planned.choice.accept,
        reference,
    )
    return Tried(planned, result, artifact, verdict, measurement)


def _parity(
    made: Plan, targets: list[TargetBuild], cache: Cache, output: str, listen: Listener
) -> tuple[Mapping[str, Any] | None, Mapping[str, Outcome]]:
    kept = {t.choice.target.id: t.kept for t in targets if t.kept is not None}
    if not kept:
        return None, {}
    # Only files cross from one graph to the next: what they need is named again, all cached by now.
    needed = _with_needs(made, [made.reference, *(t.planned.verify for t in kept.values())])
    inputs = {"reference": Output(made.reference, "outputs.npz")}
    inputs |= {name: Output(t.planned.verify, "outputs.npz") for name, t in kept.items()}
    tools = next(a for a in made.actions if a.name == made.reference).tools
    action = Action(f"{made.recipe.name}/parity", "sprue.steps:parity", 1, {"output": output}, inputs, tools)
    outcomes = run([*needed, action], cache, listen=lambda e: listen(e) if e.action == action.name else None)
    failure = outcomes[action.name].failure
    if failure is not None:
        raise _as_error(failure)
    return _json(cache, _entry(outcomes, action.name), "parity.json"), {action.name: outcomes[action.name]}


def _with_needs(made: Plan, names: list[str]) -> list[Action]:
    by_name = {a.name: a for a in made.actions}
    found: dict[str, Action] = {}
    waiting = list(names)
    while waiting:
        action = by_name[waiting.pop()]
        if action.name not in found:
            found[action.name] = action
            waiting += action.needs()
    return list(found.values())


def _json(cache: Cache, entry: Entry, name: str) -> Any:
    return parse(cache.read(entry.files[name]))


def _entry(outcomes: Mapping[str, Outcome], name: str) -> Entry:
    return _present(outcomes[name].entry)


def _present(entry: Entry | None) -> Entry:
    assert entry is not None
    return entry


def _step(action: str) -> str:
    """`digits/server-cpu/openvino-float32/compile` -> `compile`; a shared action keeps its full name."""
    parts = action.split("/")
    return parts[-1] if len(parts) == 4 else action


def _as_error(failure: Failure) -> SprueError:
    """A failure of a shared step ends the build. One of ours is marked as a bug."""
    kind = CheckError if failure.refused else SprueError
    remedy = "\n  ".join(t for t in (failure.remedy, f"log: {failure.log}" if failure.log else "") if t)
    what = f"{failure.what} (in the step {failure.action})" if failure.bug else failure.what
    return kind(what, where=failure.where, remedy=remedy)
