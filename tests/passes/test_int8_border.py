"""The border of a QDQ graph as integers: onnxruntime computes the same, and what is not quantized stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.border import Border, Edge, integers
from sprue.load import reals
from sprue.passes.int8_border import int8_border

Arrays = dict[str, NDArray[Any]]
SCALES = {"x": (0.5, 3), "z": (0.25, -7), "y": (0.125, 11)}
RANDOM = np.random.default_rng(3)
X: Arrays = {"x": RANDOM.uniform(-80, 80, (2, 3, 4)).astype(np.float32)}


def pair(take: str, scale: str, give: str) -> list[NodeProto]:
    named = [f"{scale}_scale", f"{scale}_zero"]
    return [
        helper.make_node("QuantizeLinear", [take, *named], [f"{give}_q"]),
        helper.make_node("DequantizeLinear", [f"{give}_q", *named], [give]),
    ]


def graph(nodes: list[NodeProto], *outputs: str) -> ModelProto:
    made = [numpy_helper.from_array(np.array(s, np.float32), f"{n}_scale") for n, (s, _) in SCALES.items()]
    made += [numpy_helper.from_array(np.array(z, np.int8), f"{n}_zero") for n, (_, z) in SCALES.items()]
    made.append(numpy_helper.from_array(RANDOM.standard_normal((4, 4)).astype(np.float32), "w"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4])
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    body = helper.make_graph(nodes, "g", [x], given, made)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: ModelProto, feeds: Arrays) -> Arrays:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True))


def at_border(model: ModelProto) -> tuple[Border, Arrays]:
    """What it takes and gives, and what it computes of X: the same as the model, bit by bit."""
    changed, border = int8_border(model)
    stored = run(changed, integers(X, border))
    for side, edges in ((integers(X, border), border.inputs), (stored, border.outputs)):
        assert {n: a.dtype.name for n, a in side.items()} == {n: e.dtype for n, e in edges.items()}
    made = reals(stored, border.to_json()["outputs"])
    for name, expected in run(model, X).items():
        np.testing.assert_array_equal(made[name], expected, strict=True)
    return border, stored


def test_integers_pass_through_what_only_moves_them() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        *pair("t", "x", "a"),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        *pair("b", "y", "c"),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]
    border, _ = at_border(graph(nodes, "y"))
    assert border == Border({"x": Edge("int8", 0.5, 3)}, {"y": Edge("int8", 0.125, 11)})


def test_an_input_that_a_float_operator_reads_stays_float() -> None:
    nodes = [
        *pair("x", "x", "a"),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Add", ["b", "x"], ["y"]),
    ]
    border, _ = at_border(graph(nodes, "y"))
    assert border == Border({"x": Edge("float32")}, {"y": Edge("float32")})
    assert not border.int8


def test_an_input_with_two_scales_stays_float() -> None:
    nodes = [*pair("x", "x", "a"), *pair("x", "z", "b"), helper.make_node("Add", ["a", "b"], ["y"])]
    border, _ = at_border(graph(nodes, "y"))
    assert border.inputs == {"x": Edge("float32")}


def test_an_output_that_the_graph_reads_is_int8_at_the_border_and_real_inside() -> None:
    nodes = [
        *pair("x", "x", "a"),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        *pair("b", "y", "y"),
        helper.make_node("Softmax", ["y"], ["p"]),
    ]
    border, _ = at_border(graph(nodes, "y", "p"))
    assert border.outputs == {"y": Edge("int8", 0.125, 11), "p": Edge("float32")}
