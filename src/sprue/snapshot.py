"""From a finished build to a frozen bundle in the store.

model/model.onnx, weights/   data/evaluation.npz   data/calibration.npz
targets/<id>/artifact/   targets/<id>/golden/   targets/<id>/contract.json, load.py, runtime.py
evidence/                recipe, reference, every variant tried, verdicts, parity, measurements
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sprue.backend import Contract, find
from sprue.build import Build, TargetBuild, Tried
from sprue.bundle.freeze import freeze
from sprue.bundle.manifest import MEASUREMENTS, Manifest
from sprue.bundle.store import Store
from sprue.canonical import canonical, digest, file_digest
from sprue.contract import contract_json, lay_contract
from sprue.engine.cache import Cache, Entry
from sprue.errors import CheckError, SprueError, refused
from sprue.evidence import effective, evidence, measurements, toolchain
from sprue.graph import read_model
from sprue.recipe import Recipe
from sprue.weights import write_model


def snapshot(build: Build, cache: Cache, store: Store) -> tuple[Manifest, Path]:
    """Freeze a build that is `ok`. Raises CheckError when it is not: nothing half good is ever frozen.

    Raises SprueError when the store cannot be written, or what was made is gone or damaged since.
    """
    if not build.ok:
        raise CheckError("the build did not do all it was asked for, so there is no bundle")
    try:
        with store.staging() as folder:
            contracts = _lay_out(build, cache, folder)
            manifest = freeze(folder, _fields(build, contracts))
            return manifest, store.keep(folder, manifest, latest=not build.recipe.partial)
    except OSError as error:
        raise refused("cannot write the bundle", error, error.filename or store.folder) from error


def _lay_out(build: Build, cache: Cache, folder: Path) -> dict[str, Contract]:
    """Put all files into `folder`; the contract of each target's artifact."""
    plan, model = build.plan, build.recipe.model
    source, reference = (_entry(build, n) for n in (plan.source, plan.reference))
    whole = folder / "source.onnx"
    cache.take_file(source.files["model.onnx"], whole)
    write_model(read_model(whole), folder / "model" / "model.onnx")
    whole.unlink()
    _copy(model.evaluation, reference, "evaluation", folder / "data" / "evaluation.npz")
    if model.calibration is not None:
        _copy(
            model.calibration,
            _entry(build, plan.calibration),
            "calibration",
            folder / "data" / "calibration.npz",
        )
    contracts = {t.choice.target.id: _lay_target(build.recipe, t, cache, folder) for t in build.targets}
    for name, value in evidence(build).items():
        _write(folder / "evidence" / name, value)
    for target in build.targets:
        for tried in target.tried:
            if tried.verdict is not None:
                name = f"{target.choice.target.id}-{tried.planned.variant.id}.json"
                cache.take_file(tried.verdict.files["verdict.json"], folder / "evidence" / "verdicts" / name)
    _write(folder / MEASUREMENTS, measurements(build))
    return contracts


def _lay_target(recipe: Recipe, target: TargetBuild, cache: Cache, folder: Path) -> Contract:
    kept = _kept(target)
    variant = kept.planned.variant
    backend = find(variant.backend)
    place = folder / "targets" / variant.target.id
    assert kept.artifact is not None
    assert kept.verdict is not None
    cache.take(kept.artifact.files, place / "artifact")
    cache.take(kept.verdict.below("golden"), place / "golden")
    contract = backend.contract(place / "artifact", variant)
    bundle = f"{recipe.name}@{recipe.version}"
    lay_contract(place, bundle, target.choice, variant, contract, backend.entry(variant))
    return contract


def _fields(build: Build, contracts: Mapping[str, Contract]) -> dict[str, Any]:
    recipe, plan = build.recipe, build.plan
    inputs = {n: _entry(build, n).parts for n in (plan.source, plan.reference, plan.calibration) if n}
    sources = {k: v for parts in inputs.values() for k, v in parts.items() if k.startswith("input:")}
    revision, committed = _revision(recipe)
    return {
        "name": recipe.name,
        "version": recipe.version,
        "source": {"revision": revision, "digest": digest(canonical(sources))},
        "recipe": digest(canonical(effective(recipe))),
        "toolchain": toolchain(build),
        "createdAt": _created(committed),
        "targets": [_target(t, contracts[t.choice.target.id]) for t in build.targets],
        "metrics": _metrics(build),
        "licenses": list(recipe.model.licenses),
        "parents": [],
    }


def _target(target: TargetBuild, contract: Contract) -> dict[str, Any]:
    kept = _kept(target)
    variant = kept.planned.variant
    backend = find(variant.backend)
    where = target.choice.target
    return {
        "id": where.id,
        "family": where.family or where.id,
        "os": where.os,
        "arch": where.arch,
        "variant": variant.id,
        "runtime": backend.tools(where),
        "contract": contract_json(contract),
        "entry": f"targets/{where.id}/artifact/{backend.entry(variant)}",
        "state": kept.result.state,
    }


def _metrics(build: Build) -> dict[str, dict[str, float]]:
    name = build.reference["metric"]
    made = {"reference": {name: build.reference["value"]}}
    for target in build.targets:
        result = _kept(target).result
        assert result.metric is not None
        made[target.choice.target.id] = {name: result.metric}
    return made


def _revision(recipe: Recipe) -> tuple[str | None, int | None]:
    """The checkout's commit ("-dirty" when recipe or model differ from it) and its time in Unix seconds."""
    head = _git(recipe.project, "log", "-1", "--format=%H %ct")
    if not head:
        return None, None
    commit, _, seconds = head.partition(" ")
    changed = _git(
        recipe.project, "status", "--porcelain", "--", str(recipe.path.resolve()), str(recipe.model.folder)
    )
    return commit + ("-dirty" if changed else ""), int(seconds)


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _created(committed: int | None) -> str | None:
    """SOURCE_DATE_EPOCH, else the commit's time, else unknown: never the clock, which no two builds share."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if text and not re.fullmatch("[0-9]{1,11}", text):
        raise SprueError(f"SOURCE_DATE_EPOCH is {text!r}", remedy="set it to a number of seconds since 1970")
    seconds = int(text) if text else committed
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _copy(source: Path, entry: Entry, name: str, path: Path) -> None:
    """A source file, if it still is what the build read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source.read_bytes())
    if file_digest(path) != entry.parts[f"input:{name}"]:
        raise CheckError("it changed while the build ran", where=str(source), remedy="run the build again")


def _entry(build: Build, name: str) -> Entry:
    entry = build.outcomes[name].entry
    assert entry is not None
    return entry


def _kept(target: TargetBuild) -> Tried:
    assert target.kept is not None
    return target.kept


def _write(path: Path, value: Mapping[str, Any] | list[Any] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(canonical(value) + b"\n")
