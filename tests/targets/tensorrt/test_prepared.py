"""The artifact that is made without a GPU."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from onnx.reference import ReferenceEvaluator
from sprue.targets.tensorrt import BACKEND, artifact
from sprue.targets.tensorrt.manifest import read_manifest

from sprue.errors import SprueError

pytestmark = pytest.mark.slow

Arrays = dict[str, NDArray[Any]]

FILES = [
    "engine.json",
    "golden/input_0.npy",
    "golden/output_0.npy",
    "model.onnx",
    "triton/model/config.pbtxt",
]

STAND_IN_TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "int8-static": 8e-2}
"""Share of the output's range (docs/gpu.md): order of summation; 2^-11 per rounding over about ten layers;
1/127 of a range per quantized tensor, about eight of them in a row."""


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """These artifacts are the ones without an engine, also where the tests run on a GPU machine."""
    absent = sys.modules["sprue.targets.tensorrt.probe"].Absent("left out by the test")
    monkeypatch.setattr(artifact, "device", lambda: absent)
    monkeypatch.setattr(sys.modules["sprue.targets.tensorrt"], "device", lambda: absent)


def contents(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("precision", ["float32", "float16", "int8-static"])
def test_the_stand_in_agrees_with_the_float_model(
    model: ModelProto,
    precision: str,
    prepare: Callable[..., Path],
    samples: Callable[..., Arrays],
    variant: Callable[..., Any],
    tmp_path: Path,
) -> None:
    runner = BACKEND.load(prepare(model, precision, tmp_path / "a"), variant(precision))
    inputs = samples(model, 100, seed=7)  # more than one batch of the profile
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    got = runner.run(inputs)["logits"]
    assert runner.execution == "stand-in"
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= STAND_IN_TOLERANCE[precision] * np.abs(expected).max()


def test_golden_outputs_are_what_onnx_itself_defines(
    model: ModelProto, prepare: Callable[..., Path], tmp_path: Path
) -> None:
    folder = prepare(model, "float32", tmp_path / "a")
    fed = np.load(folder / "golden/input_0.npy", allow_pickle=False)
    defined: Any = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: fed})
    golden = np.load(folder / "golden/output_0.npy", allow_pickle=False)
    assert golden.shape == (8, model.graph.output[0].type.tensor_type.shape.dim[1].dim_value)
    np.testing.assert_allclose(golden, defined[0], rtol=1e-4, atol=1e-5)


def test_precision_stands_in_the_graph(
    model: ModelProto, prepare: Callable[..., Path], tmp_path: Path
) -> None:
    half = onnx.load(prepare(model, "float16", tmp_path / "half") / "model.onnx")
    kinds = {t.data_type for t in half.graph.initializer if t.data_type != TensorProto.INT64}
    assert kinds == {TensorProto.FLOAT16}
    assert {v.type.tensor_type.elem_type for v in half.graph.output} == {TensorProto.FLOAT}
    eight = onnx.load(prepare(model, "int8-static", tmp_path / "eight") / "model.onnx")
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in eight.graph.initializer}
    pairs = [n for n in eight.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:  # TensorRT's rule: int8, zero point 0
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
        assert node.input[0] not in constants or constants[node.input[0]].dtype == np.int8


def test_the_manifest_says_what_to_build(
    digits: ModelProto, prepare: Callable[..., Path], tmp_path: Path
) -> None:
    folder = prepare(digits, "float16", tmp_path / "a")
    said = json.loads((folder / "engine.json").read_text())
    assert said["plan"] is None
    assert said["network"] == "STRONGLY_TYPED"
    assert said["flags"] == {"TF32": False}
    assert said["inputs"] == [{"name": "image", "dtype": "float32", "shape": [-1, 1, 8, 8]}]
    assert said["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [-1, 10]}]
    assert said["profile"] == {"image": {"min": [1, 1, 8, 8], "opt": [8, 1, 8, 8], "max": [64, 1, 8, 8]}}
    assert said["onnx_sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert {"--stronglyTyped", "--maxShapes=image:64x1x8x8", "--saveEngine=triton/model/1/model.plan"} <= set(
        said["trtexec"]
    )


def test_a_fixed_batch_has_no_profile_and_runs_sample_by_sample(
    fixed_batch: ModelProto,
    prepare: Callable[..., Path],
    samples: Callable[..., Arrays],
    variant: Callable[..., Any],
    tmp_path: Path,
) -> None:
    folder = prepare(fixed_batch, "float32", tmp_path / "a")
    assert read_manifest(folder).profile == {}
    inputs = samples(fixed_batch, 3)
    got = BACKEND.load(folder, variant("float32")).run(inputs)["logits"]
    session = onnxruntime.InferenceSession(fixed_batch.SerializeToString())
    one_by_one = [session.run(None, {"image": inputs["image"][i : i + 1]})[0] for i in range(3)]
    np.testing.assert_allclose(got, np.concatenate(one_by_one), rtol=1e-5, atol=1e-6)


PROGRAM = """
import runpy, sys
from pathlib import Path
kit = runpy.run_path(sys.argv[1])
for name, model in kit["MODELS"].items():
    for precision in ("float32", "float16", "int8-static"):
        kit["prepare"](model(), precision, Path(name) / precision)
"""


@pytest.mark.slow
def test_two_processes_in_two_folders_make_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for seed in ("1", "2"):
        folder = tmp_path / f"run-{seed}" / ("x" * int(seed))
        folder.mkdir(parents=True)
        environment = os.environ | {"PYTHONHASHSEED": seed}
        environment.pop(artifact.FREEZE_RTX, None)
        conftest = Path(__file__).with_name("conftest.py")
        command = [sys.executable, "-c", PROGRAM, str(conftest)]
        subprocess.run(command, cwd=folder, env=environment, check=True, timeout=200)
        made.append(contents(folder))
    assert len(made[0]) >= 6 * len(FILES)
    assert made[0] == made[1]


def test_the_artifact_holds_these_files(
    digits: ModelProto,
    prepare: Callable[..., Path],
    variant: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(artifact, "rtx", lambda: None)  # as where tensorrt-rtx is not installed
    folder = prepare(digits, "float32", tmp_path / "a")
    assert sorted(contents(folder)) == FILES
    assert BACKEND.entry(variant("float32")) in FILES


def test_rtx_reports_and_builds_but_leaves_its_engine_out(
    model: ModelProto, prepare: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    monkeypatch.delenv(artifact.FREEZE_RTX, raising=False)
    folder = prepare(model, "float16", tmp_path / "a")
    assert json.loads((folder / "rtx.json").read_text()) == {
        "tensorrt-rtx": rtx.__version__,
        "supported": True,
        "refused": [],
        "engine": "built, not executed",
    }
    assert sorted(contents(folder)) == sorted([*FILES, "rtx.json"])


def test_rtx_engine_is_kept_only_on_request_and_then_enters_the_action_key(
    digits: ModelProto, prepare: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    monkeypatch.delenv(artifact.FREEZE_RTX, raising=False)
    without = BACKEND.tools()
    monkeypatch.setenv(artifact.FREEZE_RTX, "freeze")
    folder = prepare(digits, "float16", tmp_path / "a")
    assert (folder / "rtx/model.engine").stat().st_size > 10_000
    assert BACKEND.tools() != without


@pytest.mark.parametrize("calibration", [{}, {"image": np.zeros((0, 1, 8, 8), np.float32)}])
def test_golden_samples_that_are_missing_are_named(
    digits: ModelProto, variant: Callable[..., Any], calibration: Arrays, tmp_path: Path
) -> None:
    with pytest.raises(SprueError, match="'image' to make golden inputs"):
        BACKEND.compile(digits, variant("float32"), calibration, tmp_path)


def test_inputs_of_the_wrong_name_dtype_shape_or_count_are_refused(
    digits: ModelProto, prepare: Callable[..., Path], variant: Callable[..., Any], tmp_path: Path
) -> None:
    runner = BACKEND.load(prepare(digits, "float32", tmp_path / "a"), variant("float32"))
    good = np.zeros((2, 1, 8, 8), np.float32)
    for wrong, message in [
        ({"picture": good}, "'image' is missing"),
        ({"image": good.astype(np.float64)}, "is float64"),
        ({"image": good[:, :, :7]}, r"\[2, 1, 7, 8\]"),
        ({"image": good[:0]}, "at least one"),
    ]:
        with pytest.raises(SprueError, match=message):
            runner.run(wrong)
