"""What to try next, given what came of what was tried: the planner behind `auto` and mixed precision.

A pure function from a plan and its results to a wider plan. All that it looks at comes out of cached actions,
so a build that was stopped finds its way again, and one that is repeated runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sprue.backend import Offer, find
from sprue.choosing.mixed import next_count
from sprue.choosing.search import Axes
from sprue.choosing.select import Result, stored_bytes
from sprue.choosing.trials import searched
from sprue.errors import SprueError
from sprue.facts import Facts
from sprue.judging.acceptance import drop_reason
from sprue.plan import Asked, Plan, Planned, halves, sensitivity
from sprue.recipe import Choice
from sprue.variant import Compression, Variant

Read = Callable[[str, str], Any]
"""(action, file) -> the JSON that it made; None if it was not run, or failed."""
Results = Sequence[tuple[Planned, Result]]


def wider(plan: Plan, results: Results, read: Read, seconds: Callable[[str], float]) -> Plan:
    """The plan with what is worth trying next; `plan` itself when nothing is.

    `seconds`: what an action took, when it was run. Raises SprueError when a name that was asked for is not
    among what the backends offer.
    """
    for choice in plan.recipe.choices:
        if plan.recipe.search is None or choice.only:
            plan = _offered(plan, choice, results, read)
        else:
            plan = searched(plan, choice, _axes(plan, choice, read), results, read, seconds)
    for planned, result in results:
        if _looked_at(planned, result, results) and not _waits(plan, planned, results, read):
            look = _halved if planned.variant.precision == "int8-weights" else _mixed
            plan = look(plan, planned, results, read)
    return plan


def offers(choice: Choice, facts: Facts) -> list[tuple[str, Offer]]:
    """For `auto`: what each backend of a choice offers for a graph."""
    every = [(b, o) for b in choice.space.backends for o in find(b).offers(facts, choice.target)]
    if choice.prefer != "size":
        return [(b, o) for b, o in every if not o.small]
    first = {(b, o.precision): (b, o) for b, o in reversed(every)}  # settings are no bytes
    return list(first.values())[::-1]


def offered_variants(choice: Choice, facts: Facts) -> list[Asked]:
    """The offers, multiplied by the lists of the recipe, each variant once; `only` is not looked at."""
    found = offers(choice, facts)
    smaller = {backend for backend, offer in found if offer.small}
    asked = [
        Asked(choice, v, offer.why, mixed=offer.mixed, later=offer.large and backend in smaller)
        for backend, offer in found
        for v in choice.space.around(Variant(choice.target, backend, offer.precision), offer.settings)
    ]
    return list({a.variant.id: a for a in reversed(asked)}.values())[::-1]


def _facts(plan: Plan, choice: Choice, read: Read) -> Facts | None:
    """None while they are not known, or if nothing hangs on them."""
    known = read(plan.facts, "facts.json") if choice.space.auto else None
    return None if known is None else Facts.from_json(known)


def _axes(plan: Plan, choice: Choice, read: Read) -> Axes:
    """What a search may choose from."""
    facts = _facts(plan, choice, read)
    offered = [] if facts is None else [(backend, o.precision) for backend, o in offers(choice, facts)]
    named = [(v.backend, v.precision) for v in choice.variants]
    return Axes(choice.target, tuple(dict.fromkeys([*offered, *named])), choice.space)


def _offered(plan: Plan, choice: Choice, results: Results, read: Read) -> Plan:
    """What the backends offer, multiplied by the lists of the recipe."""
    facts = _facts(plan, choice, read)
    if facts is None:
        return plan
    there = {p.variant.id for p in plan.variants if p.choice is choice}
    asked = offered_variants(choice, facts)
    kept = [a for a in asked if _wanted(choice, a)]
    if not kept:
        raise SprueError(
            f"no backend offers {' or '.join(choice.only)} for this network",
            where=str(plan.recipe.path),
            remedy=f"they offer {', '.join(a.variant.id for a in asked)}",
        )
    if not choice.only:
        kept = [a for a in kept if not a.later or _fell_short(plan, a, results, read)]
    new = [a for a in kept if a.variant.id not in there]
    return plan.with_variants(new) if new else plan


def _fell_short(plan: Plan, asked: Asked, results: Results, read: Read) -> bool:
    """Whether the backend's int8-weights were judged, and hold with no set of weights that is proposed."""
    mine = [(p, r) for p, r in results if p.choice is asked.choice and p.variant.precision == "int8-weights"]
    mine = [(p, r) for p, r in mine if p.variant.backend == asked.variant.backend]
    settled = not any(_looked_at(p, r, mine) and _untried(plan, p, mine, read) != [] for p, r in mine)
    return bool(mine) and settled and not any(_holds(r, asked.choice) for _, r in mine)


def _holds(result: Result, choice: Choice) -> bool:
    """Whether it passed, on the samples too that it was not chosen by."""
    judging = result.judging
    return result.passed and (judging is None or not drop_reason("the metric", judging, choice.accept))


def _wanted(choice: Choice, asked: Asked) -> bool:
    variant, names = asked.variant, {asked.variant.id}
    if asked.mixed and variant.precision == "int8-static":
        names.add(f"{variant.backend}-int8-mixed")
    return not choice.only or not names.isdisjoint(choice.only)


def _mixed(plan: Plan, base: Planned, results: Results, read: Read) -> Plan:
    """The ranking of the layers, then one probe after the other."""
    ranking = sensitivity(plan)
    known = read(ranking.name, "sensitivity.json")
    if known is None:
        return plan.with_actions([ranking])
    layers = [layer["node"] for layer in known]
    probes = {len(p.variant.float_layers): r for p, r in results if _probe_of(base, p)}
    count = next_count(len(layers), {0: False} | {n: r.passed for n, r in probes.items()})
    if count is None:
        return plan
    variant = replace(base.variant, float_layers=tuple(layers[:count]))
    why = f"int8 broke what is accepted; the {count} of {len(layers)} layers that it hurts most are in float"
    return plan.with_variants([Asked(base.choice, variant, why)])


def _halved(plan: Plan, base: Planned, results: Results, read: Read) -> Plan:
    """The sets of weights that are proposed for half precision, one after the other until one passes."""
    sets = _untried(plan, base, results, read)
    if sets is None:
        return plan.with_actions([halves(plan, base.choice)])
    if not sets:
        return plan
    why = f"8-bit weights broke what is accepted; it is predicted to hold with {len(sets[0])} in half"
    return plan.with_variants([Asked(base.choice, replace(base.variant, float_layers=sets[0]), why)])


def _untried(plan: Plan, base: Planned, results: Results, read: Read) -> list[tuple[str, ...]] | None:
    """The sets that are still worth trying; None while nothing is proposed."""
    known = read(halves(plan, base.choice).name, "halves.json")
    if known is None:
        return None
    tried = {p.variant.float_layers: r.passed for p, r in results if _probe_of(base, p)}
    return [] if any(tried.values()) else [held for held in map(tuple, known) if held not in tried]


def _looked_at(planned: Planned, result: Result, results: Results) -> bool:
    """Whether its layers are looked at: it was judged and failed, and what is kept may come of it."""
    if not planned.mixed or result.state != "failed" or result.broken:
        return False
    if planned.variant.precision == "int8-weights":  # what is predicted is predicted of the network as it is
        return planned.variant.compression == Compression() and not _outgrown(planned, results)
    return not _spared(planned, results) and not _outgrown(planned, results)


def _waits(plan: Plan, base: Planned, results: Results, read: Read) -> bool:
    """Where the smallest is kept, int8-weights are settled first: they are quick to make and to judge, and
    what passes bounds the sets that are worth trying with any other precision.
    """
    if base.choice.prefer != "size" or base.variant.precision == "int8-weights":
        return False
    first = [(p, r) for p, r in results if p.choice is base.choice and p.variant.precision == "int8-weights"]
    return any(_looked_at(p, r, results) and _untried(plan, p, results, read) != [] for p, r in first)


def _outgrown(base: Planned, results: Results) -> bool:
    """Where the smallest is kept: whether one that passed is smaller than what has failed so far.

    More layers in float are more bytes.
    """
    mine = [(p, r) for p, r in results if p.choice is base.choice]
    failed = [stored_bytes(r) for p, r in mine if not r.passed and (p is base or _probe_of(base, p))]
    passed = [stored_bytes(r) for _, r in mine if r.passed]
    return base.choice.prefer == "size" and bool(passed) and max(failed) >= min(passed)


def _spared(base: Planned, results: Results) -> bool:
    """Whether `auto` has another int8 of the same backend already, of another precision, that passed.

    A search for the layers to leave in float costs a build for each probe, and found nothing faster beside a
    dynamic int8 that held (measured on an encoder of MiniLM's shape: 8.9 ms instead of 6.2, 10 probes).
    """
    mine, network = base.variant, base.variant.compression
    return base.choice.space.auto and any(
        result.passed
        and (v := other.variant).backend == mine.backend
        and v.precision.startswith("int8")
        and v.precision not in (mine.precision, "int8-weights")
        and v.compression == network
        and other.choice is base.choice
        for other, result in results
    )


def _probe_of(base: Planned, other: Planned) -> bool:
    same = replace(other.variant, float_layers=()) == base.variant
    return same and other.choice is base.choice and other is not base
