"""What was found as a project of its own: a network of a few nodes, its inputs, and a recipe that fails.

<folder>/models/piece/      piece.onnx, evaluation.npz, calibration.npz, model.toml
<folder>/recipes/piece.toml
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sprue import data, graph
from sprue.backend import Variant
from sprue.errors import SprueError
from sprue.recipe import Accept
from sprue.variant import Settings

Tensors = Mapping[str, NDArray[np.generic]]
NAME = "piece"


def refuse_folder(folder: Path) -> None:
    """Raises SprueError when there is something in the folder: nothing is overwritten."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SprueError("it is there and not empty", where=str(folder), remedy="name another with --out")


def write_project(
    folder: Path, piece: ModelProto, gives: str, tensors: Tensors, calibration: Tensors, variant: Variant,
    accept: Accept,
) -> Path:  # fmt: skip
    """Write the project into a folder that is not there, or empty. Returns the recipe's path."""
    model = folder / "models" / NAME
    model.mkdir(parents=True)
    (folder / "recipes").mkdir()
    takes = [v.name for v in piece.graph.input]
    (model / f"{NAME}.onnx").write_bytes(graph.serialise(piece))
    label = label_name(takes)
    samples = {n: tensors[n] for n in takes}
    data.write_arrays(model / "evaluation.npz", {**samples, label: tensors[gives]})
    lines = [f'source = "{NAME}.onnx"', 'metric = "mae"', "", "[data]", 'evaluation = "evaluation.npz"']
    if calibration:
        data.write_arrays(model / "calibration.npz", {n: calibration[n] for n in takes})
        lines.append('calibration = "calibration.npz"')
    (model / "model.toml").write_text("\n".join([*lines, f'label = "{label}"', ""]), encoding="utf-8")
    recipe = folder / "recipes" / f"{NAME}.toml"
    recipe.write_text(_recipe(variant, accept), encoding="utf-8")
    return recipe


def label_name(takes: list[str]) -> str:
    """A name for the array of right answers that no input has."""
    name = "label"
    while name in takes:
        name += "_"
    return name


def _recipe(variant: Variant, accept: Accept) -> str:
    """The tolerance decides, not the metric: labels are the float network's own answers."""
    overrides = {"atol": accept.atol, "rtol": accept.rtol, "steps": accept.steps}
    lines = [f'model = "{NAME}"', "", "[accept]", "max_drop = 1e30"]
    lines += [f"{name} = {value!r}" for name, value in overrides.items() if value is not None]
    lines += ["", f"[target.{variant.target.id}]", f'backend = "{variant.backend}"']
    border = [] if variant.border == "float32" else [f'border = "{variant.border}"']
    lines += [f'precision = "{variant.precision}"', *border, *_settings(variant.settings), ""]
    return "\n".join(lines)


def _settings(settings: Settings) -> list[str]:
    """Those that differ from the defaults: not every backend reads each."""
    given = {k: v for k, v in asdict(settings).items() if v != getattr(Settings(), k)}
    return [f"{name} = {json.dumps(value)}" for name, value in given.items()]
