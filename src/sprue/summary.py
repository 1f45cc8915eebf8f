"""What a build has to say, as JSON: what `--json` prints, and what the tables for people are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import ceil, isinf
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sprue import data
from sprue.build import Build, TargetBuild, Tried
from sprue.canonical import file_digest
from sprue.choosing.select import Result
from sprue.errors import SprueError
from sprue.judging.certainty import CONFIDENCE, needed
from sprue.judging.metric import is_own
from sprue.measuring.cost import per_million
from sprue.recipe import Accept

if TYPE_CHECKING:
    from sprue.history.gate import Held


def summarise(
    build: Build,
    bundle: tuple[str, Path] | None,
    held: Held | None = None,
    aside: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, Any]:
    """`bundle`: id and folder of what was frozen. `held`: how it compares with a bundle from before. `aside`:
    folders of what came nearest, by target."""
    return {
        "ok": build.ok and (held is None or held.ok),
        "recipe": build.recipe.name,
        "version": build.recipe.version,
        "extends": None if build.recipe.base is None else str(build.recipe.base),
        "reference": dict(build.reference),
        "warnings": warnings(build.reference),
        "partial": build.recipe.partial,
        "parity": build.parity,
        "targets": [_target(t, aside, searched=build.recipe.search is not None) for t in build.targets],
        "actions": {name: outcome.state for name, outcome in build.outcomes.items()},
        "gate": None if held is None else held.json(),
        "bundle": None if bundle is None else {"id": bundle[0], "folder": str(bundle[1])},
        "error": None if build.error is None else error_json(build.error),
    }


def refused(path: Path, error: SprueError) -> dict[str, Any]:
    """The summary of a recipe that could not even be read."""
    return {
        "ok": False,
        "recipe": path.stem,
        "version": None,
        "extends": None,
        "reference": {},
        "warnings": [],
        "partial": False,
        "parity": None,
        "targets": [],
        "actions": {},
        "gate": None,
        "bundle": None,
        "error": error_json(error),
    }


def warnings(reference: Mapping[str, Any]) -> list[str]:
    """What is no error, and makes the figures worth less than they look."""
    said = (
        data.overlap_warning(reference["overlap"], reference["samples"]) if reference.get("overlap") else ""
    )
    return [said] if said else []


def error_json(error: SprueError) -> dict[str, Any]:
    return {"what": error.what, "where": error.where, "remedy": error.remedy, "exit_code": error.exit_code}


def dependencies(build: Build, bundle: Path | None) -> dict[Path, str] | None:
    """Every file that the summary of a build depends on, with the digest that it had.

    None if not all are known: a Python source may read anything, and a checkout whose `.git` is no folder
    keeps its state elsewhere.
    """
    recipe, plan = build.recipe, build.plan
    if recipe.model.function or is_own(recipe.model.metric):
        return None
    files = dict(recipe.files)
    for action, name, path in (
        (plan.source, "source", recipe.model.source),
        (plan.reference, "evaluation", recipe.model.evaluation),
        (plan.calibration, "calibration", recipe.model.calibration),
    ):
        entry = build.outcomes[action].entry if action else None
        if entry is not None and path is not None:
            files[path] = entry.parts[f"input:{name}"]
    for folder in (recipe.project, *recipe.project.parents) if bundle is not None else ():
        git = folder / ".git"
        if git.is_file():
            return None
        if git.is_dir():
            files |= {p: file_digest(p) for p in (git / "HEAD", git / "logs" / "HEAD") if p.is_file()}
            break
    if bundle is not None:
        files |= {p: file_digest(p) for p in sorted(bundle.rglob("*")) if p.is_file()}
    if bundle is not None and not recipe.partial:
        latest = bundle.parent / f"{recipe.version}.json"
        files[latest] = file_digest(latest)
    return files


def result_json(result: Result) -> dict[str, Any]:
    """A result without its target, which is said elsewhere, and without the longest lists of what was
    measured.
    """
    values = {k: v for k, v in asdict(result).items() if k not in ("variant", "measured", "stood")}
    measured = result.measured.to_json()
    del measured["operators"]
    if measured["timing"] is not None:
        del measured["timing"]["rounds"]
    return {"variant": result.variant.id, **values, "notes": dict(result.notes), "measured": measured}


def _nearest(target: TargetBuild, aside: Mapping[str, Path]) -> dict[str, Any] | None:
    """Where nothing passed: what came nearest, and the folder where it was kept aside."""
    if (found := target.nearest) is None:
        return None
    folder = aside.get(target.choice.target.id)
    over = found.result.over
    return {
        "variant": found.planned.variant.id,
        "over": over,
        "folder": None if folder is None else str(folder),
    }


def _target(target: TargetBuild, aside: Mapping[str, Path], *, searched: bool) -> dict[str, Any]:
    trials = len(target.tried) if searched else None
    return {
        "target": target.choice.target.id,
        "kept": target.kept.planned.variant.id if target.kept else None,
        "nearest": _nearest(target, aside),
        "trials": trials,
        "conditions": target.conditions,
        "half_needed": _half_needed(target.choice.accept),
        "variants": [
            {**_tried(t), "price": per_million(target.choice.price, t.result.timing)} for t in target.tried
        ],
    }


def _half_needed(accept: Accept) -> int | None:
    """Samples that it takes in each half, to choose on one and judge on the other; None: none suffice."""
    samples = needed(accept.max_drop, accept.confidence or CONFIDENCE)
    return None if isinf(samples) else ceil(samples)


def _tried(tried: Tried) -> dict[str, Any]:
    failure = tried.failure
    said = {
        "remedy": failure.remedy if failure else "",
        "log": str(failure.log) if failure and failure.log else None,
        "offered": tried.planned.why,
    }
    return result_json(tried.result) | said
