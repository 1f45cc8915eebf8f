"""From what a build left behind, or from a bundle, to a `Report`.

A bundle is a stranger's: only whole ones are read, at most so many bytes of each file, and every value is
validated. What this version does not know is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sprue.bundle.check import check_bundle
from sprue.bundle.manifest import MEASUREMENTS, Manifest
from sprue.canonical import read_json
from sprue.errors import CheckError
from sprue.history.last_build import last_build
from sprue.report.data import Report

EVIDENCE = ("recipe.json", "reference.json", "parity.json", "variants.json")


def from_last_build(cache: Path, recipe: Path) -> Report:
    """What the last build of a recipe found. Raises SprueError when there was none, or for changed files."""
    return from_findings(last_build(cache, recipe), str(recipe))


def from_findings(found: Mapping[str, Any], where: str) -> Report:
    """What `evidence.findings` says of a build."""
    error = found["error"]
    facts = {
        **{key: found[key] for key in ("name", "version", "toolchain", "partial")},
        "id": "",
        "error": "" if error is None else ": ".join(t for t in (error["where"], error["what"]) if t),
    }
    evidence = {**found["evidence"], "measurements.json": found["measurements"]}
    return _report(facts, found["targets"], evidence, where)


def from_bundle(folder: Path) -> Report:
    """What the evidence in a bundle says. Raises CheckError when it is damaged, or no evidence."""
    manifest = check_bundle(folder).manifest
    evidence = {name: _json(folder / "evidence" / name) for name in EVIDENCE}
    evidence["measurements.json"] = _json(folder / MEASUREMENTS)
    targets = [{"id": t.id, "os": t.os, "arch": t.arch} for t in manifest.targets]
    return _report(_facts(manifest), targets, evidence, str(folder))


def hows(folder: Path) -> dict[str, Mapping[str, Any]]:
    """How the artifact for each target of a bundle was made, as `evidence` wrote it. Check it first."""
    variants = _json(folder / "evidence" / "variants.json") or []
    return {v["target"]: v["how"] for v in variants if v["selected"] and isinstance(v.get("how"), dict)}


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "id": manifest.id(),
        "toolchain": manifest.toolchain,
        "revision": manifest.source.revision or "",
        "created": manifest.createdAt or "",
    }


def _json(path: Path) -> Any:
    """A JSON file of a bundle; None if it has none."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CheckError(f"cannot be read: {error}", where=str(path)) from error


def _report(
    facts: Mapping[str, Any], targets: list[dict[str, Any]], evidence: Mapping[str, Any], where: str
) -> Report:
    try:
        recipe = evidence["recipe.json"] or {}
        measured = evidence["measurements.json"] or {}
        value = {
            **facts,
            "reference": _reference(evidence["reference.json"]),
            "targets": [_target(t, recipe, evidence["variants.json"] or [], measured) for t in targets],
            "parity": (evidence["parity.json"] or {}).get("pairs", []),
            "recipe": {key: _text(found) for key, found in recipe.items()},
            "machine": measured.get("machine", ""),
        }
        # As JSON, because strict validation takes its lists for tuples, and nothing else for anything else.
        return _adapter().validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        raise CheckError(f"its evidence is not valid: {key}: {first['msg']}", where=where) from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckError(f"its evidence is not in the format: {error!r}", where=where) from error


@cache
def _adapter() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


def _reference(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    return {**found}


def _target(
    target: dict[str, Any], recipe: Mapping[str, Any], variants: list[Any], measured: Mapping[str, Any]
) -> dict[str, Any]:
    name = target["id"]
    figures = measured.get("variants", {})
    mine = [v for v in variants if v["target"] == name]
    return {
        **target,
        "tried": [{**v, **figures.get(f"{name}/{v['variant']}", {})} for v in mine],
        "prefer": recipe.get(f"target.{name}.prefer", "latency"),
        "max_drop": recipe.get(f"target.{name}.accept.max_drop"),
        "conditions": measured.get("conditions", {}).get(name),
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    return value if isinstance(value, str) else json.dumps(value)
