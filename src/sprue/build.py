"""Run plans, judge, select. What comes of each is a `Build`; freezing it is `snapshot.py`'s job.

Runs of the engine: everything up to the verdicts; what those make worth trying (`choosing/widen.py`), as
often as there is any; the timings of what passed; the comparison of what was kept. Each takes all recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sprue.backend import Variant
from sprue.canonical import parse
from sprue.choosing.select import Result, choose, judge, nearest
from sprue.choosing.trials import finalists
from sprue.choosing.widen import wider
from sprue.choosing.worth import weighed
from sprue.engine.action import Action
from sprue.engine.cache import Cache, Entry
from sprue.engine.pool import Executor
from sprue.engine.run import Failure, Listener, Outcome, run
from sprue.engine.shared import Shared
from sprue.errors import CheckError, SprueError
from sprue.measuring.cost import cost
from sprue.measuring.measured import Measured
from sprue.measuring.work import Work
from sprue.plan import Plan, Planned, measure, memory, parity
from sprue.recipe import Choice, Recipe


@dataclass(frozen=True)
class Tried:
    """A variant, what became of it, and the cache entries that hold what was made (None: not made)."""

    planned: Planned
    result: Result
    artifact: Entry | None = None
    verdict: Entry | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class TargetBuild:
    """`conditions`: what went on while its variants were timed side by side; None if none was."""

    choice: Choice
    tried: tuple[Tried, ...]
    kept: Tried | None
    conditions: Mapping[str, Any] | None = None

    @property
    def nearest(self) -> Tried | None:
        """Where nothing is kept, the variant that came nearest."""
        found = None if self.kept is not None else nearest([t.result for t in self.tried])
        return next((t for t in self.tried if t.result is found), None)


@dataclass(frozen=True)
class Build:
    """What became of one recipe. `outcomes` holds its own actions.

    `error`: what is wrong with its model or data as a whole; then there is nothing to choose from, and
    `targets` is empty. `parity` compares the kept artifacts' outputs; None when there was nothing to compare.
    """

    plan: Plan
    targets: tuple[TargetBuild, ...]
    reference: Mapping[str, Any]
    parity: Mapping[str, Any] | None
    outcomes: Mapping[str, Outcome]
    error: SprueError | None = None

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def ok(self) -> bool:
        """Every target has an artifact, and nothing broke on the way."""
        return (
            self.error is None
            and all(t.kept is not None for t in self.targets)
            and not any(tried.result.broken for t in self.targets for tried in t.tried)
        )


def build(
    plans: Sequence[Plan],
    cache: Cache,
    pool: Executor,
    *,
    listen: Listener,
    fail_fast: bool,
    shared: Shared | None = None,
) -> list[Build]:
    """Build every variant of every recipe, and choose. What fails is part of the result.

    Steps that recipes share run once. `shared` is a cache behind `cache`. Raises SprueError when two recipes
    or models go by one name.
    """
    _refuse_same_names(plans)

    def go(actions: Iterable[Action], known: Mapping[str, Outcome]) -> dict[str, Outcome]:
        return run(actions, cache, pool, listen, known, fail_fast=fail_fast, shared=shared)

    outcomes = go([a for made in plans for a in made.actions], {})
    begun = [_judge(made, outcomes, cache) for made in plans]
    while not (fail_fast and any(o.failure for o in outcomes.values())):
        begun = [_widened(b, outcomes, cache) for b in begun]
        if not any(b.grown for b in begun):
            break
        more = {a.name: a for b in begun for a in b.build.plan.actions if a.name not in outcomes}
        outcomes = go(more.values(), outcomes)
        begun = [_judge(b.build.plan, outcomes, cache) if b.grown else b for b in begun]
    begun = [_to_be_timed(b, outcomes, cache) for b in begun]
    outcomes = go([a for b in begun for a in (*b.memory.values(), *b.timing.values())], outcomes)
    outcomes = go([a for b in begun for a in _apart(b, outcomes)], outcomes)
    chosen = [_choose(b, outcomes, cache) for b in begun]
    compared = [_compared(c) for c in chosen]
    outcomes = go([a for a in compared if a is not None], outcomes)
    return [_finished(c, a, outcomes, cache) for c, a in zip(chosen, compared, strict=True)]


def _refuse_same_names(plans: Sequence[Plan]) -> None:
    recipes: dict[str, Path] = {}
    models: dict[str, Path] = {}
    for made in plans:
        recipe = made.recipe
        pairs = ((recipes, recipe.name, recipe.path), (models, recipe.model.name, recipe.model.folder))
        for known, name, path in pairs:
            if known.setdefault(name, path).resolve() != path.resolve():
                raise SprueError(
                    f"'{name}' is also the name of {known[name]}",
                    where=str(path),
                    remedy="rename one of the two",
                )


@dataclass(frozen=True)
class _Begun:
    """A recipe whose variants are judged but for latency. `timing`: target id -> its measuring action.

    `grown`: its plan holds what has not been run yet. `memory`: the name of a variant's `verify` ->
    the action that measures how much memory it needs, for what runs natively.
    """

    build: Build
    tried: tuple[Tried, ...] = ()
    grown: bool = False
    timing: Mapping[str, Action] = field(default_factory=dict)
    memory: Mapping[str, Action] = field(default_factory=dict)

    @property
    def results(self) -> list[tuple[Planned, Result]]:
        return [(t.planned, t.result) for t in self.tried]


def _judge(made: Plan, outcomes: Mapping[str, Outcome], cache: Cache) -> _Begun:
    for name in (made.source, made.reference, made.calibration, made.overlap, made.work):
        if name and (failure := outcomes[name].failure):
            return _Begun(_broken(made, outcomes, failure))
    shared = _json(cache, outcomes[made.overlap], "overlap.json") if made.overlap else None
    reference = {**_json(cache, outcomes[made.reference], "metric.json"), "overlap": shared}
    reference["work"] = _json(cache, outcomes[made.work], "work.json")
    work = Work(**reference["work"])
    tried = tuple(_judged(p, outcomes, cache, work) for p in made.variants)
    return _Begun(Build(made, (), reference, None, _mine(made, outcomes)), tried)


def _widened(begun: _Begun, outcomes: Mapping[str, Outcome], cache: Cache) -> _Begun:
    """With what is worth trying next in its plan."""
    plan = begun.build.plan
    if begun.build.error is not None:
        return replace(begun, grown=False)

    def seconds(action: str) -> float:
        outcome = outcomes.get(action)
        return 0.0 if outcome is None or outcome.entry is None else outcome.entry.seconds

    if failure := next((o.failure for n in plan.questions if (o := outcomes.get(n)) and o.failure), None):
        return _Begun(_broken(plan, outcomes, failure))
    try:
        wide = wider(plan, begun.results, _reader(outcomes, cache), seconds)
    except SprueError as error:
        return _Begun(replace(begun.build, error=error))
    return replace(begun, build=replace(begun.build, plan=wide), grown=wide is not plan)


def _reader(outcomes: Mapping[str, Outcome], cache: Cache) -> Callable[[str, str], Any]:
    """(action, file) -> the JSON that it made; None if there is none."""

    def read(action: str, file: str) -> Any:
        outcome = outcomes.get(action)
        return None if outcome is None or outcome.entry is None else _json(cache, outcome, file)

    return read


def _to_be_timed(begun: _Begun, outcomes: Mapping[str, Outcome], cache: Cache) -> _Begun:
    plan = begun.build.plan
    if begun.build.error is not None:
        return begun
    tried = begun.tried
    if plan.recipe.search is not None:
        read = _reader(outcomes, cache)
        last = {c.target.id: finalists(plan, c, begun.results, read) for c in plan.recipe.choices}
        tried = tuple(t for t in tried if t.planned.variant.id in last[t.planned.choice.target.id])
    measured = {c.target.id: _measure(plan, c, tried) for c in plan.recipe.choices}
    resident = {t.planned.verify: memory(plan, t.planned) for t in tried if _runs_here(t)}
    return replace(begun, timing={k: a for k, a in measured.items() if a is not None}, memory=resident)


def _apart(begun: _Begun, outcomes: Mapping[str, Outcome]) -> list[Action]:
    """A variant that breaks while it is timed takes its rivals along: timing each alone shows which one."""
    found = []
    for target, joint in begun.timing.items():
        rivals = [t.planned for t in begun.tried if t.planned.verify and t.planned.variant.id in joint.inputs]
        rivals = [p for p in rivals if p.choice.target.id == target]
        if outcomes[joint.name].failure is not None and len(rivals) > 1:
            alone = [
                (p, measure(begun.build.plan, p.choice, [p], set(joint.params["timed"]) & {p.variant.id}))
                for p in rivals
            ]
            found += [replace(a, name=_alone(joint, p.variant)) for p, a in alone]
    return found


def _alone(joint: Action, variant: Variant) -> str:
    return f"{joint.name.removesuffix('measure')}{variant.id}/measure"


def _choose(begun: _Begun, outcomes: Mapping[str, Outcome], cache: Cache) -> Build:
    if begun.build.error is not None:
        return begun.build
    choices = begun.build.recipe.choices
    tried = [_with_memory(t, begun.memory, outcomes, cache) for t in begun.tried]
    targets = tuple(_chosen(c, tried, begun.timing.get(c.target.id), outcomes, cache) for c in choices)
    timed = {a.name: outcomes[a.name] for a in (*begun.timing.values(), *begun.memory.values())}
    return replace(begun.build, targets=targets, outcomes={**begun.build.outcomes, **timed})


def _compared(build: Build) -> Action | None:
    kept = {t.choice.target.id: t.kept.planned for t in build.targets if t.kept is not None}
    return parity(build.plan, kept, build.reference["output"]) if kept else None


def _finished(build: Build, compared: Action | None, outcomes: Mapping[str, Outcome], cache: Cache) -> Build:
    if compared is None:
        return build
    outcome = outcomes[compared.name]
    if outcome.failure is not None:
        return _broken(build.plan, outcomes, outcome.failure)
    mine = {**build.outcomes, compared.name: outcome}
    return replace(build, parity=_json(cache, outcome, "parity.json"), outcomes=mine)


def _broken(made: Plan, outcomes: Mapping[str, Outcome], failure: Failure) -> Build:
    return Build(made, (), {}, None, _mine(made, outcomes), _as_error(failure, made.recipe.model.folder))


def _mine(made: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    return {a.name: outcomes[a.name] for a in made.actions}


def _judged(planned: Planned, outcomes: Mapping[str, Outcome], cache: Cache, work: Work) -> Tried:
    """What became of a variant, but for its latency."""
    variant = planned.variant
    if planned.missing is not None:
        broken = not isinstance(planned.missing, CheckError)
        return Tried(planned, Result(variant, "failed", str(planned.missing), broken=broken))
    check, compiled, verify = (outcomes[n] for n in (planned.check, planned.compile, planned.verify))
    if failure := check.failure or compiled.failure or verify.failure:
        return Tried(planned, _failed(variant, failure), compiled.entry, verify.entry, failure)
    verdict = _json(cache, verify, "verdict.json")
    assert compiled.entry is not None
    result = judge(variant, verdict, cache.size(compiled.entry), planned.choice.accept)
    moved = cost(work, variant.precision)
    result = replace(result, bytes_moved=moved.bytes_moved, energy=moved.energy)
    if planned.saturation and (known := outcomes[planned.saturation]).entry is not None:
        result = replace(result, notes={**result.notes, **_json(cache, known, "saturation.json")["notes"]})
    return Tried(planned, result, compiled.entry, verify.entry)


def _failed(variant: Variant, failure: Failure) -> Result:
    step = (
        failure.action.rpartition("/")[2] if f"/{variant.artifact_id}" in failure.action else failure.action
    )
    reason = failure.what if failure.refused else f"{step}: {failure.what}"
    return Result(variant, "failed", reason, broken=not failure.refused)


def _measure(made: Plan, choice: Choice, tried: Iterable[Tried]) -> Action | None:
    """The action that measures what passed for a target; None if nothing of it could be run."""
    mine = [t for t in tried if t.planned.choice is choice and t.result.state == "verified"]
    native = [t.planned.variant.id for t in mine if _runs_here(t)]
    return measure(made, choice, [t.planned for t in mine], native) if mine else None


def _runs_here(tried: Tried) -> bool:
    return tried.result.state == "verified" and tried.result.execution == "native"


def _chosen(
    choice: Choice,
    tried: Iterable[Tried],
    timing: Action | None,
    outcomes: Mapping[str, Outcome],
    cache: Cache,
) -> TargetBuild:
    """Add what was measured, and select."""
    mine = [t for t in tried if t.planned.choice is choice]
    if timing is not None:
        mine = [
            _timed(t, timing, outcomes, cache) if t.planned.variant.id in timing.inputs else t for t in mine
        ]
    results = weighed([_in_the_final(t, timing) for t in mine], choice.prefer)
    settled, kept = choose(results, choice.prefer, choice.accept)
    mine = [replace(t, result=result) for t, result in zip(mine, settled, strict=True)]
    conditions = _conditions(timing, outcomes, cache)
    return TargetBuild(choice, tuple(mine), next((t for t in mine if t.result is kept), None), conditions)


def _in_the_final(tried: Tried, timing: Action | None) -> Result:
    """A search times its best trials side by side; nothing else can be compared with them."""
    result = tried.result
    if timing is None or result.state != "verified" or tried.planned.variant.id in timing.inputs:
        return result
    reason = "not among the best trials of the search"
    return replace(result, state="refused", reason=reason, stood=result.state)


def _conditions(
    timing: Action | None, outcomes: Mapping[str, Outcome], cache: Cache
) -> Mapping[str, Any] | None:
    if timing is None or not timing.params["timed"] or outcomes[timing.name].failure:
        return None
    found: Mapping[str, Any] = _json(cache, outcomes[timing.name], "measurement.json")["conditions"]
    return found


def _with_memory(
    tried: Tried, memory: Mapping[str, Action], outcomes: Mapping[str, Outcome], cache: Cache
) -> Tried:
    if tried.planned.verify not in memory:
        return tried
    outcome = outcomes[memory[tried.planned.verify].name]
    if failure := outcome.failure:
        return replace(tried, result=_failed(tried.planned.variant, failure), failure=failure)
    found = _json(cache, outcome, "memory.json")
    return replace(tried, result=replace(tried.result, measured=Measured(**found)))


def _timed(tried: Tried, timing: Action, outcomes: Mapping[str, Outcome], cache: Cache) -> Tried:
    variant = tried.planned.variant
    outcome = outcomes.get(_alone(timing, variant), outcomes[timing.name])
    if failure := outcome.failure:
        return replace(tried, result=_failed(variant, failure), failure=failure)
    if tried.result.state == "failed":
        return tried
    found = _json(cache, outcome, "measurement.json")
    measured = tried.result.measured.with_times(
        **found["variants"][variant.id], noise=found["conditions"]["noise"]
    )
    return replace(tried, result=replace(tried.result, measured=measured))


def _json(cache: Cache, outcome: Outcome, name: str) -> Any:
    assert outcome.entry is not None
    return parse(cache.read(outcome.entry.files[name]))


def _as_error(failure: Failure, folder: Path) -> SprueError:
    """A shared step that fails ends the build; without a place it names the step. `folder`: the model's."""
    kind = CheckError if failure.refused else SprueError
    remedy = "\n  ".join(t for t in (failure.remedy, f"log: {failure.log}" if failure.log else "") if t)
    placed = failure.where and not failure.bug
    what = failure.what if placed else f"{failure.what} (in the step {failure.action})"
    file = folder / failure.where.partition(":")[0]
    where = str(folder / failure.where) if file.is_file() else failure.where
    return kind(what, where=where, remedy=remedy)
