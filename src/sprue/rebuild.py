"""Building a bundle again from its own contents, to see whether the same comes out.

Everything is in the bundle: the source model as ONNX, data, recipe, and for each target its description and
the variant that was kept. No code of anybody's is run and no cache is read. What was tried and lost is not
built again; nor are times, which nobody can repeat.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sprue.build import build
from sprue.bundle.check import check_bundle
from sprue.bundle.differing import Differing, differing
from sprue.bundle.manifest import MEASUREMENTS, Manifest, TargetEntry
from sprue.bundle.store import Store
from sprue.canonical import read_json
from sprue.choosing.candidates import Space
from sprue.description import Description
from sprue.engine.cache import Cache
from sprue.engine.pool import Executor
from sprue.engine.run import Listener
from sprue.errors import CheckError, SprueError
from sprue.graph import read_model, serialise
from sprue.judging.metric import find_metric, is_own
from sprue.machine import fingerprint
from sprue.model import Model
from sprue.plan import plan
from sprue.recipe import DEFAULT_MAX_DROP, Accept, Choice, Recipe
from sprue.snapshot import snapshot
from sprue.toml import Document
from sprue.variant import Variant

VARIANTS = "evidence/variants.json"
OF_MODEL = ("name", "metric", "label", "description")
"""In the effective recipe, beside what stands in the recipe's files."""


@dataclass(frozen=True)
class Rebuilt:
    """`files`: those that differ; `same`: how many do not. `tools`: package -> versions then and now, where
    they differ ("" if it took no part). `machine`: where it was built then and now, if these are two.
    """

    manifest: Manifest
    folder: Path
    files: tuple[Differing, ...]
    same: int
    tools: Mapping[str, tuple[str, str]]
    machine: tuple[str, str] | None

    @property
    def equal(self) -> bool:
        return not self.files and not self.tools

    def causes(self) -> list[str]:
        """What may be to blame for the files that differ."""
        if not self.files:
            return []
        found = [
            f"{name} was {a or 'not used'}, now {b or 'not used'}" for name, (a, b) in self.tools.items()
        ]
        if self.machine is not None:
            found.append(f"it was built on {self.machine[0]}, now on {self.machine[1]}")
        return found or [
            "tools and machine are the same: the code of sprue or of a backend is another, or a step does "
            "not make the same twice"
        ]


def rebuild(
    folder: Path, work: Path, store: Store, pool: Executor, listen: Listener, *, timeout: float
) -> Rebuilt:
    """Build the bundle in `folder` again, in `work`, an empty folder, and keep it in `store`.

    Raises CheckError for a bundle that is damaged or does not build here, SprueError when a backend or a
    package for it is missing.
    """
    manifest = check_bundle(folder).manifest
    recipe = recipe_of(folder, manifest, work)
    cache = Cache(work / "cache")
    with cache.in_use():
        (made,) = build([plan(recipe, timeout=timeout)], cache, pool, listen=listen, fail_fast=False)
    if made.error is not None:
        raise made.error
    if not made.ok:
        lost = [t for target in made.targets for t in target.tried if target.kept is None or t.result.broken]
        said = "; ".join(f"{t.planned.variant.target.id}: {t.result.reason}" for t in lost)
        raise CheckError(f"it does not build here: {said}", where=str(folder))
    again, place = snapshot(made, cache, store)
    kept = {f"evidence/verdicts/{t.id}-{t.variant}.json" for t in manifest.targets}
    verdicts = {f.path for f in manifest.files if f.path.startswith("evidence/verdicts/")}
    files, same = differing((folder, manifest), (place, again), {VARIANTS, *(verdicts - kept)})
    then, now = _machine_of(folder), fingerprint()
    return Rebuilt(
        again,
        place,
        tuple(files),
        same,
        _tools(manifest, again),
        (then, now) if then not in ("", now) else None,
    )


def recipe_of(folder: Path, manifest: Manifest, work: Path) -> Recipe:
    """The recipe that a bundle was built by, with the kept variants alone; its model laid out in `work`.

    Raises CheckError when the bundle does not hold what it takes.
    """
    effective = _json(folder / "evidence" / "recipe.json")
    model = _model(folder, manifest, effective, work)
    choices = tuple(_choice(folder, entry, effective) for entry in manifest.targets)
    where = {k: (v, "the bundle") for k, v in effective.items() if k not in OF_MODEL}
    return Recipe(
        name=manifest.name,
        version=manifest.version,
        path=folder / "evidence" / "recipe.json",
        project=work,
        model=model,
        choices=choices,
        origins=where,
        partial=True,
    )


def _model(folder: Path, manifest: Manifest, effective: Mapping[str, Any], work: Path) -> Model:
    name, metric, label = (effective.get(k) for k in ("model", "metric", "label"))
    place = str(folder / "evidence/recipe.json")
    if not all(isinstance(value, str) for value in (name, metric, label)):
        raise CheckError("it names no model, metric or label", where=place)
    if is_own(str(metric)):
        raise CheckError(f"it was judged by code of its own, {metric}, which no bundle holds", where=place)
    try:
        higher_is_better = find_metric(str(metric)).higher_is_better
    except SprueError as error:
        raise CheckError(error.what, where=place) from error
    home = work / "model"
    home.mkdir()
    (home / "model.onnx").write_bytes(serialise(read_model(folder / "model" / "model.onnx")))
    data = {f.path for f in manifest.files if f.role == "data"}
    for path in data:
        shutil.copyfile(folder / path, home / Path(path).name)
    calibration = home / "calibration.npz"
    return Model(
        name=str(name),
        folder=home,
        source=home / "model.onnx",
        function="",
        metric=str(metric),
        higher_is_better=higher_is_better,
        label=str(label),
        evaluation=home / "evaluation.npz",
        calibration=calibration if calibration.exists() else None,
        licenses=tuple(manifest.licenses),
        document=Document(home / "model.toml", {}, {}, ""),
        description=_description(effective, place),
    )


def _description(effective: Mapping[str, Any], place: str) -> Description:
    try:
        return Description.from_json(effective["description"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckError(f"it does not say what the model means: {error!r}", where=place) from error


def _choice(folder: Path, entry: TargetEntry, effective: Mapping[str, Any]) -> Choice:
    path = folder / "targets" / entry.id / "contract.json"
    contract = _json(path)
    try:
        target = {"description": "", **contract["target"]}
        variant = TypeAdapter(Variant).validate_python({**contract["variant"], "target": target})
    except (KeyError, TypeError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else repr(error)
        raise CheckError(f"it does not say what was built: {said}", where=str(path)) from error
    if (variant.id, variant.target.id) != (entry.variant, entry.id):
        said = f"it is about {variant.id} for {variant.target.id}, the manifest about {entry.variant}"
        raise CheckError(said, where=str(path))

    def figure(key: str) -> float | None:
        value = effective.get(f"target.{entry.id}.accept.{key}")
        return float(value) if isinstance(value, int | float) else None

    drop = figure("max_drop")
    accept = Accept(
        DEFAULT_MAX_DROP if drop is None else drop, *map(figure, ("atol", "rtol", "steps", "confidence"))
    )
    space = Space((variant.backend,), (variant.precision,))
    return Choice(variant.target, (variant,), accept, "latency", space)


def _tools(before: Manifest, after: Manifest) -> dict[str, tuple[str, str]]:
    """Those of the kept variants: what was tried and lost may have had others."""
    now, then = after.toolchain, before.toolchain
    return {name: (then.get(name, ""), v) for name, v in now.items() if then.get(name) != v}


def _machine_of(folder: Path) -> str:
    path = folder / MEASUREMENTS
    said = _json(path).get("machine", "") if path.is_file() else ""
    return said if isinstance(said, str) else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
        if not isinstance(value, dict):
            raise ValueError("no object")
    except OSError as error:
        said = f"the bundle does not hold it ({error.strerror}): it cannot be built again"
        raise CheckError(said, where=str(path)) from error
    except ValueError as error:
        raise SprueError(f"cannot be read: {error}", where=str(path)) from error
    return value
