"""Expand: what ONNX defines by other operators is written out, and computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from sprue.passes.expand import Expand

PLAIN = (
    "Add",
    "Cast",
    "Concat",
    "Div",
    "Exp",
    "Identity",
    "Log",
    "MatMul",
    "Mul",
    "Reshape",
    "Shape",
    "Slice",
)
KEPT = (*PLAIN, "Softmax", "Sqrt", "Sub", "ReduceMax", "ReduceSum", "Transpose", "Unsqueeze", "Where")


def model_of(op: str, inputs: dict[str, list[int]], opset: int, **attributes: Any) -> ModelProto:
    node = helper.make_node(op, list(inputs), ["y"], "node", **attributes)
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *s[1:]]) for n, s in inputs.items()
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", values, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(model: ModelProto, feeds: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made: NDArray[np.float32] = np.asarray(session.run(None, feeds)[0])
    return made


@pytest.mark.parametrize(
    ("op", "shapes", "opset", "attributes"),
    [
        ("ReduceLogSumExp", {"x": [1, 3, 4]}, 18, {"keepdims": 1}),
        ("Attention", {"q": [1, 2, 4, 8], "k": [1, 2, 6, 8], "v": [1, 2, 6, 8]}, 23, {}),
    ],
)
def test_a_body_computes_what_the_operator_computes(
    op: str, shapes: dict[str, list[int]], opset: int, attributes: dict[str, Any]
) -> None:
    model = model_of(op, shapes, opset, **attributes)
    rng = np.random.default_rng(3)
    feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    written = Expand(keep=KEPT, batch=1).apply(model, {})
    onnx.checker.check_model(written, full_check=True)
    assert op not in {n.op_type for n in written.graph.node}
    np.testing.assert_allclose(run(written, feeds), run(model, feeds), rtol=1e-5, atol=1e-6)


def test_what_is_kept_or_has_no_body_stays_as_it_is() -> None:
    kept = model_of("ReduceLogSumExp", {"x": [1, 3]}, 18)
    assert Expand(keep=("ReduceLogSumExp",), batch=1).apply(kept, {}) is kept
    basic = model_of("Sin", {"x": [1, 3]}, 18)
    assert Expand(keep=(), batch=1).apply(basic, {}) is basic


def test_the_same_model_gives_the_same_bytes() -> None:
    model = model_of("Attention", {"q": [1, 2, 4, 8], "k": [1, 2, 6, 8], "v": [1, 2, 6, 8]}, 23)
    once, twice = (
        Expand(keep=KEPT, batch=1).apply(model, {}).SerializeToString(deterministic=True) for _ in "ab"
    )
    assert once == twice
