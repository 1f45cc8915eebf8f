"""tflite-runtime runs what is built for it, and refuses the rest instead of computing nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from sprue.targets.tflite.tflite_runtime import FEATURE, INSTALL, VARIABLE, python

from sprue.errors import SprueError
from sprue.target import Precision

from .build import BACKEND, Arrays, compiled, mobile, reference, variant, worst
from .test_quantize import CASES, LIMITS

pytest.importorskip("ai_edge_quantizer", reason="needs the extra sprue[mobile]")
needs_runtime = pytest.mark.skipif(python() is None, reason=f"{VARIABLE} is not set: {INSTALL}")
each_case = pytest.mark.parametrize("name", CASES)


@needs_runtime
@each_case
@pytest.mark.parametrize("precision", LIMITS)
def test_what_is_built_for_tflite_runtime_runs_there(name: str, precision: Precision, tmp_path: Path) -> None:
    source, samples = CASES[name]
    runner = compiled(source, precision, samples, tmp_path, mobile(FEATURE))
    expected = reference(source, samples)
    assert worst(runner.run(samples), expected) < LIMITS[precision]
    assert runner.profile().notes["runtime"].startswith("tflite-runtime ")


@needs_runtime
@each_case
@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-static"])
def test_one_scale_a_row_is_refused_there(name: str, precision: Precision, tmp_path: Path) -> None:
    source, samples = CASES[name]
    compiled(source, precision, samples, tmp_path)
    with pytest.raises(SprueError, match="tflite-runtime refuses it"):
        BACKEND.load(tmp_path, variant(precision, mobile(FEATURE)))


def _single(op: str, *inputs: tuple[int, tuple[int, ...]], **given: Any) -> ModelProto:
    """One node whose inputs are fed; of the first one's type, unless it compares."""
    fed = [helper.make_tensor_value_info(f"i{i}", kind, shape) for i, (kind, shape) in enumerate(inputs)]
    made = [helper.make_empty_tensor_value_info("y")]
    graph = helper.make_graph(
        [helper.make_node(op, [v.name for v in fed], ["y"], "n", **given)], "g", fed, made
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(whole)


WIDE, ONE = (1, 2, 2, 2, 2), (1, 1, 2, 2, 1)
BEYOND = {
    "TRANSPOSE of float16": _single("Transpose", (TensorProto.FLOAT16, (1, 2, 3)), perm=[0, 2, 1]),
    "TRANSPOSE of uint32": _single("Transpose", (TensorProto.UINT32, (1, 2, 3)), perm=[0, 2, 1]),
    "LESS that broadcasts over 5 axes": _single("Less", (TensorProto.FLOAT, WIDE), (TensorProto.FLOAT, ONE)),
    "MUL that broadcasts over 5 axes": _single("Mul", (TensorProto.INT64, WIDE), (TensorProto.INT64, ONE)),
    "uint16": _single("Identity", (TensorProto.UINT16, (1, 2))),
}


@pytest.mark.parametrize("what", BEYOND)
def test_check_names_what_that_runtime_cannot_run(what: str, tmp_path: Path) -> None:
    source = BEYOND[what]
    assert BACKEND.check(source, variant("float32")) == []
    found = BACKEND.check(source, variant("float32", mobile(FEATURE)))
    assert len(found) == 1
    assert what in found[0].reason
    with pytest.raises(SprueError, match="tflite-runtime"):
        BACKEND.compile(source, variant("float32", mobile(FEATURE)), {}, tmp_path)


@pytest.mark.slow
@needs_runtime
@pytest.mark.parametrize("what", BEYOND)
def test_what_check_refuses_for_that_runtime_it_does_refuse(what: str, tmp_path: Path) -> None:
    source = BEYOND[what]
    border = source.graph.input
    samples: Arrays = {
        v.name: np.ones(
            [d.dim_value for d in v.type.tensor_type.shape.dim],
            helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type),
        )
        for v in border
    }
    compiled(source, "float32", {}, tmp_path).run(samples)  # as LiteRT does not
    with pytest.raises(SprueError, match="tflite-runtime refuses it"):
        BACKEND.load(tmp_path, variant("float32", mobile(FEATURE))).run(samples)


def test_without_such_a_python_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, samples = CASES["vision"]
    compiled(source, "float32", samples, tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SprueError, match=VARIABLE):
        BACKEND.load(tmp_path, variant("float32", mobile(FEATURE)))
