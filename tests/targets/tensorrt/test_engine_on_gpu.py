"""Real engines on a real GPU. Run on a machine with an NVIDIA driver, TensorRT and cuda-bindings:

python -m pytest -rs tests/targets/tensorrt/test_engine_on_gpu.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from sprue.targets.tensorrt import BACKEND
from sprue.targets.tensorrt.child import ChildError, EngineProcess
from sprue.targets.tensorrt.manifest import PLAN, read_manifest
from sprue.targets.tensorrt.probe import Absent, device

from sprue.errors import SprueError

Arrays = dict[str, NDArray[Any]]

TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "int8-static": 8e-2}
"""Share of the output's range, against the float model: as for the stand-in; float32 sums differ more."""


@pytest.fixture(autouse=True)
def gpu() -> Any:
    here = device()
    if isinstance(here, Absent):
        pytest.skip(f"needs a GPU and TensorRT: {here.missing}")
    return here


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16", "int8-static"])
def test_the_engine_is_built_frozen_and_agrees_with_the_float_model(
    model: ModelProto,
    precision: str,
    gpu: Any,
    prepare: Callable[..., Path],
    samples: Callable[..., Arrays],
    variant: Callable[..., Any],
    tmp_path: Path,
) -> None:
    folder = prepare(model, precision, tmp_path / "a")
    plan = json.loads((folder / "engine.json").read_text())["plan"]
    assert (plan["tensorrt"], plan["compute_capability"]) == (gpu.tensorrt, gpu.compute_capability)
    assert plan["size"] == (folder / PLAN).stat().st_size
    runner = BACKEND.load(folder, variant(precision))
    assert runner.execution == "native"
    for count in (1, 5, 64, 150):  # least, odd, greatest and several batches
        inputs = samples(model, count, seed=count)
        (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
        got = runner.run(inputs)["logits"]
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= TOLERANCE[precision] * np.abs(expected).max()
    assert BACKEND.tools()["compute-capability"] == gpu.compute_capability


@pytest.mark.slow
def test_a_fixed_batch_runs(
    fixed_batch: ModelProto,
    prepare: Callable[..., Path],
    samples: Callable[..., Arrays],
    variant: Callable[..., Any],
    tmp_path: Path,
) -> None:
    runner = BACKEND.load(prepare(fixed_batch, "float16", tmp_path / "a"), variant("float16"))
    assert runner.run(samples(fixed_batch, 3))["logits"].shape == (3, 10)


@pytest.mark.slow
def test_an_engine_for_another_gpu_and_a_broken_engine_are_errors(
    digits: ModelProto, prepare: Callable[..., Path], variant: Callable[..., Any], tmp_path: Path
) -> None:
    folder = prepare(digits, "float32", tmp_path / "a")
    (tmp_path / "broken.plan").write_bytes((folder / PLAN).read_bytes()[:1000])
    with pytest.raises(ChildError):
        EngineProcess(tmp_path / "broken.plan")
    manifest = read_manifest(folder)
    said = manifest.model_dump(mode="json")
    said["plan"]["compute_capability"] = "1.0"
    (folder / "engine.json").write_text(json.dumps(said))
    with pytest.raises(SprueError, match="build it on this machine"):
        BACKEND.load(folder, variant("float32"))
