"""A project, the command line run in it, and what a test asks of what was built."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

RECIPE = "recipes/tiny.toml"
CALIBRATION = "models/tiny/calibration.npz"
EVALUATION = "models/tiny/evaluation.npz"
QUANTIZED = 'model = "tiny"\n[target.server-cpu]\nbackend = "onnxruntime"\nprecision = "int8-static"\n'
GRAIN = 2.5
"""Seconds after which the stamp of a file is believed, see `sprue.settled`."""

SOURCE = """
import json
from pathlib import Path
import onnx
from onnx import helper, numpy_helper
import weights

def export():
    here = Path(__file__).parent
    scale = sum(json.loads(p.read_text()) for p in sorted(here.glob("*.json")))
    first, second = (numpy_helper.from_array(w, n) for w, n in zip(weights.make(scale), ("first", "second")))
    nodes = [
        helper.make_node("Gemm", ["x", "first"], ["hidden"], "into"),
        helper.make_node("Gemm", ["hidden", "second"], ["y"], "out"),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "made", [x], [y], [first, second])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
"""
WEIGHTS = """
import numpy as np

def make(scale):
    rng = np.random.default_rng(5)
    return [(rng.standard_normal(s) * scale).astype(np.float32) for s in ((4, 8), (8, 3))]
"""


class Project:
    """A project with a cache of its own, and the command line run in it."""

    def __init__(self, folder: Path, run: Run, cache: Path | None = None, **environment: str) -> None:
        self.folder = folder
        self.cache = cache or folder.parent / "cache"
        self.environment = {"SPRUE_CACHE": str(self.cache), **environment}
        self._run = run

    def sprue(self, *arguments: str, **environment: str) -> Done:
        return self._run(self.folder, *arguments, **{**self.environment, **environment})

    def build(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """A build that must succeed."""
        done = self.sprue("build", RECIPE, "--json", *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        assert said["ok"] is True
        return {**said, "stderr": done.stderr}

    def refused(self, *arguments: str, code: int, **environment: str) -> str:
        """What is said of a build that must fail: no bundle, no traceback."""
        done = self.sprue("build", RECIPE, *arguments, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert self.bundles() == []
        return done.stdout + done.stderr

    def bundles(self) -> list[Path]:
        return sorted((self.folder / "bundles").glob("*/*/manifest.json"))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


def ran(said: dict[str, Any]) -> set[str]:
    """The steps that were not cached."""
    assert set(said["actions"].values()) <= {"done", "cached"}
    return {name.rpartition("/")[2].partition("-")[0] for name, s in said["actions"].items() if s == "done"}


def artifact(said: dict[str, Any]) -> bytes:
    (model,) = (Path(said["bundle"]["folder"]) / "targets").rglob("model.onnx")
    return model.read_bytes()


def rescale(path: Path, factor: float) -> None:
    """Other samples; the file keeps its path, size and time of change."""
    with np.load(path) as file:
        arrays = dict(file)
    stat = path.stat()
    np.savez(path, allow_pickle=False, **{**arrays, "x": arrays["x"] * np.float32(factor)})
    assert path.stat().st_size == stat.st_size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def scripted(project: Project) -> None:
    """Labels from a seed: nothing is judged here, so any accuracy will do."""
    toml = (project.folder / "models/tiny/model.toml").read_text()
    project.write("models/tiny/model.toml", toml.replace("tiny.onnx", "train.py:export"))
    for name, text in (("train.py", SOURCE), ("weights.py", WEIGHTS), ("scale.json", "0.3")):
        project.write(f"models/tiny/{name}", text)
