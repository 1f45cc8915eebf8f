"""What lies beside an artifact, so that it is loaded only where it may be.

contract.json   what was built, what must hold where it is loaded, and the sha256 of every file
load.py         the loader, the same in every bundle: it checks the contract and the files first
runtime.py      how the artifact's runtime opens it; from its backend

The contract also stands in the manifest, for those who choose before they fetch.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sprue import load
from sprue.backend import Contract, Variant
from sprue.canonical import canonical, file_digest
from sprue.judging.tolerance import Tolerance, implied
from sprue.recipe import Choice
from sprue.target import Target

FOLDERS = ("artifact", "golden")


def lay_contract(
    place: Path, bundle: str, choice: Choice, variant: Variant, made: Contract, entry: str
) -> None:
    """Write the contract of what lies in `place`, and its loader; `entry`: the artifact's first file."""
    if made.loader is not None:
        shutil.copyfile(load.__file__, place / "load.py")
        shutil.copyfile(made.loader, place / load.RUNTIME)
    files = [path for folder in FOLDERS for path in (place / folder).rglob("*") if path.is_file()]
    files += [place / load.RUNTIME] if made.loader is not None else []
    value = {
        "schema": load.SCHEMA,
        "bundle": bundle,
        "target": described(variant.target),
        "variant": {k: v for k, v in variant.to_json().items() if k != "target"},
        "requires": {"os": variant.target.os, "arch": variant.target.arch, **contract_json(made)},
        "tolerance": asdict(tolerance(choice, variant)),
        "entry": f"artifact/{entry}",
        **({} if made.border is None else {"border": made.border.to_json()}),
        "files": {path.relative_to(place).as_posix(): file_digest(path) for path in files},
    }
    (place / load.CONTRACT).write_bytes(canonical(value) + b"\n")


def contract_json(made: Contract) -> dict[str, Any]:
    """As the manifest has it."""
    return {
        "features": list(made.features),
        "runtime": dict(made.runtime),
        "engine": dict(made.engine),
    }


def described(target: Target) -> dict[str, Any]:
    """What decides of a target: without its description and the labels of its CI runners."""
    return {k: v for k, v in target.to_json().items() if k not in ("description", "runner")}


def tolerance(choice: Choice, variant: Variant) -> Tolerance:
    """How far outputs of this variant may lie from their reference."""
    accept = choice.accept
    overrides = {"atol": accept.atol, "rtol": accept.rtol, "steps": accept.steps}
    return implied(variant).replaced(overrides)
