"""The parts of one recipe -> one bundle: the same files, and so the same id, as one machine would have made.

What the parts say twice must agree; what each says of its own targets is put together in the recipe's order;
parity is computed again, over all of them. Nothing else is decided here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from sprue.bundle.freeze import freeze
from sprue.bundle.manifest import MEASUREMENTS, Manifest
from sprue.canonical import canonical, read_json
from sprue.data import read_arrays
from sprue.errors import CheckError
from sprue.judging.parity import compare

VARIANTS = "evidence/variants.json"
PARITY = "evidence/parity.json"
REFERENCE = "evidence/reference.json"
OF_TARGETS = (VARIANTS, PARITY)
"""Evidence that each part has for its own targets, and that is merged."""


@dataclass(frozen=True)
class Arrived:
    """A part that was fetched and proven. `job`: who made it. `reference`, `outputs`: .npz files."""

    job: str
    folder: Path
    manifest: Manifest
    reference: Path
    outputs: Mapping[str, Path]

    def json(self, path: str) -> Any:
        """Raises CheckError for what is no JSON."""
        try:
            return read_json(self.folder / path)
        except (OSError, ValueError) as error:
            raise CheckError(f"{path} of '{self.job}' cannot be read: {error}") from error


def merge(parts: Mapping[str, Arrived], folder: Path) -> Manifest:
    """Put the parts together in the empty `folder` and freeze it. `parts`: target -> its part, in order.

    Raises CheckError that names the jobs whose parts do not agree, and in what.
    """
    each = list({id(p): p for p in parts.values()}.values())
    for one, other in combinations(each, 2):
        _must_agree(one, other)
    tools = _toolchain(each)
    try:
        evidence = {VARIANTS: _variants(parts), PARITY: _parity(parts), MEASUREMENTS: _measurements(each)}
    except (KeyError, TypeError, AttributeError) as error:
        name = each[0].manifest.name
        raise CheckError(f"the evidence of '{name}' is not what sprue writes: {error!r}") from error
    for part in each:
        _copy(part, folder)
    for path, value in evidence.items():
        (folder / path).write_bytes(canonical(value) + b"\n")
    fields = each[0].manifest.model_dump(mode="json", exclude={"schema_", "files"})
    entries = {t.id: t for part in each for t in part.manifest.targets}
    fields["targets"] = [entries[target].model_dump(mode="json") for target in parts]
    fields["metrics"] = {k: v for part in each for k, v in part.manifest.metrics.items()}
    fields["toolchain"] = tools
    return freeze(folder, fields)


def _must_agree(one: Arrived, other: Arrived) -> None:
    """Raises CheckError unless both parts were made of the same, by the same recipe."""
    a, b = one.manifest, other.manifest
    facts = ("name", "version", "recipe", "source", "createdAt", "licenses", "parents")
    different = [fact for fact in facts if getattr(a, fact) != getattr(b, fact)]
    if a.metrics.get("reference") != b.metrics.get("reference"):
        different.append("the reference's metric")
    mine, theirs = _shared(a), _shared(b)
    different += [p for p in sorted(mine.keys() & theirs.keys()) if mine[p] != theirs[p]]
    different += sorted(_data(a) ^ _data(b))
    if different:
        raise CheckError(
            f"the parts from '{one.job}' and '{other.job}' do not agree: {', '.join(different)}",
            where=a.name,
            remedy="run both jobs again, from one revision",
        )


def _shared(manifest: Manifest) -> dict[str, str]:
    """The files that are of no target: path -> sha256."""
    own = (*OF_TARGETS, MEASUREMENTS)
    return {f.path: f.sha256 for f in manifest.files if f.target is None and f.path not in own}


def _data(manifest: Manifest) -> set[str]:
    return {f.path for f in manifest.files if f.role in ("model", "data")}


def _copy(part: Arrived, folder: Path) -> None:
    for file in part.manifest.files:
        if file.path not in OF_TARGETS:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part.folder / file.path, path)


def _toolchain(parts: Sequence[Arrived]) -> dict[str, str]:
    """The versions of all packages that took part. Raises CheckError when two parts used two versions."""
    found: dict[str, str] = {}
    by: dict[str, str] = {}
    for part in parts:
        for package, version in part.manifest.toolchain.items():
            if found.setdefault(package, version) != version:
                raise CheckError(
                    f"'{by[package]}' used {package} {found[package]}, and '{part.job}' {version}",
                    where=part.manifest.name,
                    remedy="install the same versions in all jobs, from one requirements or lock file",
                )
            by.setdefault(package, part.job)
    return found


def _variants(parts: Mapping[str, Arrived]) -> list[Any]:
    found: list[Any] = []
    for target, part in parts.items():
        mine = [v for v in part.json(VARIANTS) if v["target"] == target]
        if not mine:
            raise KeyError(target)
        found += mine
    return found


def _parity(parts: Mapping[str, Arrived]) -> dict[str, Any]:
    output = next(iter(parts.values())).json(REFERENCE)["output"]
    references = {target: read_arrays(part.reference)[output] for target, part in parts.items()}
    outputs = {target: read_arrays(part.outputs[target])[output] for target, part in parts.items()}
    return compare(output, references, outputs)


def _measurements(parts: Sequence[Arrived]) -> dict[str, Any]:
    """Times of every part, the first one's where two measured the same."""
    merged: dict[str, Any] = {}
    for part in parts:
        if not (part.folder / MEASUREMENTS).is_file():
            continue
        for key, value in part.json(MEASUREMENTS).items():
            known = merged.setdefault(key, value)
            if isinstance(known, dict):
                merged[key] = {**value, **known}
            elif value not in known.split("; "):
                merged[key] = f"{known}; {value}"
    return merged
