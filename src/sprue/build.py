"""One build: plan, run, judge, select. What comes of it is a `Build`; freezing it is `snapshot.py`'s job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sprue.backend import Variant
from sprue.canonical import parse
from sprue.engine.action import Action
from sprue.engine.cache import Cache, Entry
from sprue.engine.pool import Pool
from sprue.engine.run import Failure, Listener, Outcome, run
from sprue.errors import CheckError, SprueError
from sprue.plan import Plan, Planned, measure, parity, plan
from sprue.recipe import Choice, Recipe
from sprue.select import Result, judge, select


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
    with Pool(jobs, threads) as pool:
        outcomes = run(made.actions, cache, pool, listen)
        for name in (made.source, made.reference, made.calibration):
            if name and (failure := outcomes[name].failure):
                raise _as_error(failure, recipe.model.folder)
        reference = _json(cache, outcomes[made.reference], "metric.json")
        tried = [_judged(p, outcomes, cache, reference) for p in made.variants]
        timing = {c.target.id: _measure(made, c, tried, timeout) for c in recipe.choices}
        outcomes = run([a for a in timing.values() if a is not None], cache, pool, listen, outcomes)
        targets = tuple(_chosen(c, tried, timing[c.target.id], outcomes, cache) for c in recipe.choices)
        kept = {t.choice.target.id: t.kept.planned for t in targets if t.kept is not None}
        if not kept:
            return Build(made, targets, reference, None, outcomes)
        compared = parity(made, kept, reference["output"])
        outcomes = run([compared], cache, pool, listen, outcomes)
        if failure := outcomes[compared.name].failure:
            raise _as_error(failure, recipe.model.folder)
        return Build(made, targets, reference, _json(cache, outcomes[compared.name], "parity.json"), outcomes)


def _judged(
    planned: Planned, outcomes: Mapping[str, Outcome], cache: Cache, reference: Mapping[str, Any]
) -> Tried:
    """What became of a variant, but for its latency."""
    variant = planned.variant
    if planned.missing is not None:
        return Tried(planned, Result(variant, "failed", str(planned.missing), broken=True))
    check, compiled, verify = (outcomes[n] for n in (planned.check, planned.compile, planned.verify))
    if failure := check.failure or compiled.failure or verify.failure:
        return Tried(planned, _failed(variant, failure), compiled.entry, verify.entry, failure)
    verdict = _json(cache, verify, "verdict.json")
    assert compiled.entry is not None
    result = judge(variant, verdict, cache.size(compiled.entry), planned.choice.accept, reference)
    return Tried(planned, result, compiled.entry, verify.entry)


def _failed(variant: Variant, failure: Failure) -> Result:
    step = failure.action.rpartition("/")[2] if variant.id in failure.action else failure.action
    reason = failure.what if failure.refused else f"{step}: {failure.what}"
    return Result(variant, "failed", reason, broken=not failure.refused)


def _measure(made: Plan, choice: Choice, tried: Iterable[Tried], timeout: float) -> Action | None:
    """The action that times what passed for a target; None if nothing of it runs natively here."""
    native = [
        t.planned
        for t in tried
        if t.planned.choice is choice and t.result.state == "verified" and t.result.execution == "native"
    ]
    return measure(made, choice, native, timeout) if native else None


def _chosen(
    choice: Choice,
    tried: Iterable[Tried],
    timing: Action | None,
    outcomes: Mapping[str, Outcome],
    cache: Cache,
) -> TargetBuild:
    """Add the latencies, and select."""
    mine = [t for t in tried if t.planned.choice is choice]
    if timing is not None:
        outcome = outcomes[timing.name]
        measured = {} if outcome.failure else _json(cache, outcome, "measurement.json")
        mine = [
            _timed(t, measured, outcome.failure) if t.planned.variant.id in timing.inputs else t for t in mine
        ]
    kept = select([t.result for t in mine], choice.prefer)
    return TargetBuild(choice, tuple(mine), next((t for t in mine if t.result is kept), None))


def _timed(tried: Tried, measured: Mapping[str, Mapping[str, float]], failure: Failure | None) -> Tried:
    variant = tried.planned.variant
    if failure is not None:
        return replace(tried, result=_failed(variant, failure), failure=failure)
    times = measured[variant.id]
    load, best, p50, p95 = (times[name] for name in ("load", "best", "p50", "p95"))
    timed = replace(tried.result, load=load, latency=best, latency_p50=p50, latency_p95=p95)
    return replace(tried, result=timed)


def _json(cache: Cache, outcome: Outcome, name: str) -> Any:
    assert outcome.entry is not None
    return parse(cache.read(outcome.entry.files[name]))


def _as_error(failure: Failure, folder: Path) -> SprueError:
    """A failure of a shared step ends the build. One of ours is marked as a bug. `folder`: the model's."""
    kind = CheckError if failure.refused else SprueError
    remedy = "\n  ".join(t for t in (failure.remedy, f"log: {failure.log}" if failure.log else "") if t)
    what = f"{failure.what} (in the step {failure.action})" if failure.bug else failure.what
    file = folder / failure.where.partition(":")[0]
    where = str(folder / failure.where) if file.is_file() else failure.where
    return kind(what, where=where, remedy=remedy)
