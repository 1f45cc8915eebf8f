"""One question of `sprue debug`: choose the variant, run what it needs, search, write the project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sprue.canonical import parse
from sprue.contract import tolerance
from sprue.debug import cut
from sprue.debug.find import Found, find
from sprue.debug.observe import Observer
from sprue.debug.reproduce import write_project
from sprue.engine.cache import Cache
from sprue.engine.pool import Executor
from sprue.engine.run import Listener, Outcome, run
from sprue.errors import CheckError, SprueError
from sprue.plan import Plan, Planned

SAMPLES = 16
"""Evaluation samples that are looked at: the first ones, and the one with the largest error before them."""


@dataclass(frozen=True)
class Answer:
    """`recipe`: of the project that shows the fault; None if none was wanted, or there is nothing to show."""

    planned: Planned
    found: Found
    recipe: Path | None


def debug(plan: Plan, cache: Cache, pool: Executor, listen: Listener, out: Path | None) -> Answer:
    """Look into a variant of the plan, whose recipe has one target. `out`: a folder, empty or not there.

    Raises CheckError when the model or its data are wrong, SprueError when no variant can be built here.
    """
    built = [p for p in plan.variants if p.missing is None]
    if not plan.variants:
        raise SprueError(
            "the recipe names no precision to look into",
            where=str(plan.recipe.path),
            remedy='write the one that went wrong instead of "auto"',
        )
    if not built:
        assert plan.variants[0].missing is not None
        raise plan.variants[0].missing
    outcomes = run(plan.actions, cache, pool, listen)
    for name in (plan.source, plan.reference, plan.calibration):
        if name and (failure := outcomes[name].failure):
            raise CheckError(failure.what, where=failure.where, remedy=failure.remedy)
    verdicts = {p.variant.id: _verdict(cache, outcomes[p.verify]) for p in built}
    planned = next((p for p in built if _leaves(verdicts[p.variant.id])), built[0])
    allowed = tolerance(planned.choice, planned.variant)
    samples = _samples(verdicts[planned.variant.id])
    observer = Observer(plan, planned, allowed, samples, cache, pool, listen, outcomes)
    found = find(observer)
    if out is None or found.first is None:
        return Answer(planned, found, None)
    return Answer(planned, found, _written(observer, found, out))


def to_json(answer: Answer) -> dict[str, Any]:
    """What `--json` prints."""
    found, variant = answer.found, answer.planned.variant
    said: dict[str, Any] = {"ok": found.first is None, "target": variant.target.id, "variant": variant.id}
    said |= {"hidden": found.hidden, "recipe": None if answer.recipe is None else str(answer.recipe)}
    if found.first is None or found.seen is None:
        return said | {"closest": found.closest, "used": found.used}
    reference = found.reference[found.first.tensor]
    seen = found.seen
    return said | {
        **asdict(found.first),
        "node": found.node,
        "used": None if seen.agreement is None else seen.agreement.used,
        "failure": seen.failure,
        "artifact": None if seen.agreement is None else [seen.low, seen.high],
        "reference": [float(reference.min()), float(reference.max())],
        "piece": None if found.piece is None else list(found.piece.nodes),
    }


def _written(observer: Observer, found: Found, out: Path) -> Path:
    assert found.first is not None
    model, gives = observer.model(), found.first.tensor
    tensors = found.reference
    takes = found.piece.takes if found.piece else cut.before(model, gives, cut.ALL, tensors)
    piece = cut.piece(model, {n: tensors[n] for n in takes}, gives, tensors[gives])
    planned = observer.planned
    calibration = observer.calibration()
    return write_project(out, piece, gives, tensors, calibration, planned.variant, planned.choice.accept)


def _verdict(cache: Cache, outcome: Outcome) -> Mapping[str, Any] | None:
    """None if there is none: the variant could not be built, or not be compared."""
    if outcome.entry is None:
        return None
    verdict: Mapping[str, Any] = parse(cache.read(outcome.entry.files["verdict.json"]))
    return verdict


def _leaves(verdict: Mapping[str, Any] | None) -> bool:
    return verdict is None or any(o["used"] > 1 for o in verdict["outputs"].values())


def _samples(verdict: Mapping[str, Any] | None) -> list[int]:
    worst = [] if verdict is None else [o["sample"] for o in verdict["outputs"].values()]
    return list(dict.fromkeys([*worst, *range(SAMPLES)]))[:SAMPLES]
