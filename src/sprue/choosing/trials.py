"""The trials of a `[search]`: what they cost, when they end, and who is timed against whom at last.

Trials come in batches. Where the recipe prefers low latency, each batch is timed side by side with the first
variant of all, so that costs of different batches are ratios to the same thing. The budget is what the
trials' steps took when they were run: cached or not, a search of five minutes ends at the same trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sprue.choosing.search import BATCH, Axes, Trial, propose
from sprue.choosing.select import Result, stored_bytes
from sprue.engine.action import Action
from sprue.plan import Asked, Plan, Planned, measure
from sprue.recipe import Choice
from sprue.variant import Compression, Settings, Variant

Read = Callable[[str, str], Any]
Results = Sequence[tuple[Planned, Result]]

TIMED = {"latency": "best", "cost": "cpu"}
"""What a recipe may prefer that must be timed -> the figure of a timing that says it."""
FINALISTS = 6
"""Of the trials, those with the lowest cost, which are timed side by side at last."""


def searched(
    plan: Plan,
    choice: Choice,
    axes: Axes,
    results: Results,
    read: Read,
    seconds: Callable[[str], float],
) -> Plan:
    """The plan with a target's next batch of trials, or with what tells their cost; itself at the end."""
    search = plan.recipe.search
    assert search is not None
    mine = [(p, r) for p, r in results if p.choice is choice and not p.variant.float_layers]
    if not axes.builds:
        return plan  # the facts are not there yet
    timings = _timings(plan, choice, mine)
    unknown = [a for a in timings if a.name not in {known.name for known in plan.actions}]
    if unknown:
        return plan.with_actions(unknown)
    spent = sum(map(seconds, {*(s for p, _ in mine for s in p.steps), *(a.name for a in timings)}))
    count = min(BATCH, len(mine) + BATCH if search.trials is None else search.trials - len(mine))
    if count <= 0 or (mine and spent >= search.budget):
        return plan
    trials = trials_of(plan, choice, mine, read)
    following = propose(axes, trials, search.seed, count)
    why = "chosen by the search" if mine else "where the search begins"
    return plan.with_variants([Asked(choice, v, why, mixed=_mixes(choice, v)) for v in following])


def _mixes(choice: Choice, variant: Variant) -> bool:
    """Layers are looked at for int8 alone: its combinations would each have a ranking of their own."""
    plain = replace(variant, precision="int8-static", compression=Compression(), settings=Settings())
    return (choice.space.mixes or choice.space.auto) and variant == plain


def trials_of(plan: Plan, choice: Choice, mine: Results, read: Read) -> list[Trial]:
    """The results as the search sees them."""
    costs: dict[str, float | None] = {}
    if choice.prefer in TIMED:
        for action in _timings(plan, choice, mine):
            costs |= _ratios(read(action.name, "measurement.json"), _first(mine), TIMED[choice.prefer])
    return [Trial(p.variant, costs.get(p.variant.id, _cost(r, choice)), r.over, r.passed) for p, r in mine]


def finalists(plan: Plan, choice: Choice, results: Results, read: Read) -> set[str]:
    """The ids of those that are measured side by side: the first trial, and those with the lowest costs."""
    mine = [(p, r) for p, r in results if p.choice is choice and not p.variant.float_layers]
    trials = [t for t in trials_of(plan, choice, mine, read) if t.passed]
    best = sorted(trials, key=lambda t: t.value)[:FINALISTS]
    mixed = {p.variant.id for p, r in results if p.choice is choice and p.variant.float_layers and r.passed}
    return {t.variant.id for t in (*trials[:1], *best)} | mixed


def _timings(plan: Plan, choice: Choice, mine: Results) -> list[Action]:
    """One for each whole batch with something to time, against the first variant of all."""
    first = _first(mine)
    if choice.prefer not in TIMED or first is None:
        return []
    made = []
    for start in range(0, len(mine), BATCH):
        batch = [p for p, r in mine[start : start + BATCH] if _runs_here(r) and p != first]
        if batch:
            rivals = [first, *batch]
            action = measure(plan, choice, rivals, {p.variant.id for p in rivals})
            name = action.name.removesuffix("measure") + f"trials{start // BATCH}/measure"
            made.append(replace(action, name=name))
    return made


def _first(mine: Results) -> Planned | None:
    """What all others are timed against: the first that could be."""
    return next((p for p, r in mine if _runs_here(r)), None)


def _runs_here(result: Result) -> bool:
    return result.state == "verified" and result.execution == "native"


def _ratios(measured: Any, first: Planned | None, figure: str) -> dict[str, float | None]:
    """Times relative to the first variant's in the same rounds."""
    if measured is None or first is None:
        return {}
    timings = {name: told["timing"] for name, told in measured["variants"].items()}
    base = timings[first.variant.id][figure]
    return {name: t[figure] / base for name, t in timings.items() if t is not None}


def _cost(result: Result, choice: Choice) -> float | None:
    """Where nothing was timed."""
    if choice.prefer == "metric":
        return result.drop
    if choice.prefer == "size" or result.instructions is None:
        return float(stored_bytes(result))
    return float(result.instructions)
