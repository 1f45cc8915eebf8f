"""What a build has to say, as JSON: what `--json` prints, and what the tables for people are made from."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sprue.build import Build, TargetBuild, Tried
from sprue.errors import SprueError
from sprue.select import Result


def summarise(build: Build, bundle: tuple[str, Path] | None) -> dict[str, Any]:
    """`bundle`: id and folder of what was frozen."""
    return {
        "ok": build.ok,
        "recipe": build.recipe.name,
        "version": build.recipe.version,
        "reference": dict(build.reference),
        "parity": build.parity,
        "targets": [_target(t) for t in build.targets],
        "actions": {name: outcome.state for name, outcome in build.outcomes.items()},
        "bundle": None if bundle is None else {"id": bundle[0], "folder": str(bundle[1])},
        "error": None if build.error is None else error_json(build.error),
    }


def refused(path: Path, error: SprueError) -> dict[str, Any]:
    """The summary of a recipe that could not even be read."""
    return {
        "ok": False,
        "recipe": path.stem,
        "version": None,
        "reference": {},
        "parity": None,
        "targets": [],
        "actions": {},
        "bundle": None,
        "error": error_json(error),
    }


def error_json(error: SprueError) -> dict[str, Any]:
    return {"what": error.what, "where": error.where, "remedy": error.remedy, "exit_code": error.exit_code}


def counts(summaries: list[dict[str, Any]]) -> dict[str, int]:
    """How the actions of all recipes ended; one that recipes share counts once."""
    states = {name: state for s in summaries for name, state in s["actions"].items()}
    return dict(Counter(states.values()))


def result_json(result: Result) -> dict[str, Any]:
    """A result without its target, which is said elsewhere."""
    values = {k: v for k, v in asdict(result).items() if k != "variant"}
    return {"variant": result.variant.id, **values, "notes": dict(result.notes)}


def _target(target: TargetBuild) -> dict[str, Any]:
    return {
        "target": target.choice.target.id,
        "kept": target.kept.planned.variant.id if target.kept else None,
        "variants": [_tried(t) for t in target.tried],
    }


def _tried(tried: Tried) -> dict[str, Any]:
    failure = tried.failure
    said = {
        "remedy": failure.remedy if failure else "",
        "log": str(failure.log) if failure and failure.log else None,
    }
    return result_json(tried.result) | said
