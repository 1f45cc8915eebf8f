"""What `compact` may change: bytes, and no value, no operator, and no name of the float network's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.graph import serialise
from sprue.passes.compact import PAIRS, compact
from sprue.passes.quantize_dynamic import QuantizeDynamic
from sprue.passes.quantize_static import QuantizeStatic
from sprue.passes.simplify import Simplify

Samples = dict[str, NDArray[Any]]
CHANGES: list[QuantizeStatic | QuantizeDynamic] = [
    QuantizeStatic(activations="uint8", float_outputs=True),
    QuantizeStatic(),
    QuantizeDynamic(),
]


def run(model: ModelProto, samples: Samples) -> list[NDArray[Any]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(serialise(model), options, providers=["CPUExecutionProvider"])
    return [np.asarray(a) for a in session.run(None, samples)]


def fused(model: ModelProto, folder: Any) -> list[str]:
    """The operators that onnxruntime makes of a model."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(serialise(model), options, providers=["CPUExecutionProvider"])
    return [n.op_type for n in onnx.load(folder / "fused.onnx").graph.node]


def quantized(case: tuple[ModelProto, Samples], change: QuantizeStatic | QuantizeDynamic) -> ModelProto:
    model, samples = case
    return change.apply(Simplify().apply(model, samples), samples)


@pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_it_computes_the_same_bits_in_fewer_bytes(
    network: str, change: QuantizeStatic | QuantizeDynamic, request: pytest.FixtureRequest
) -> None:
    case = request.getfixturevalue(network)
    before = quantized(case, change)
    after = compact(before)
    onnx.checker.check_model(after)
    assert after.ByteSize() < before.ByteSize()
    for old, new in zip(run(before, case[1]), run(after, case[1]), strict=True):
        np.testing.assert_array_equal(old, new)
    assert serialise(compact(after)) == serialise(after), "nothing is left to do"


def test_onnxruntime_fuses_it_as_before(tiny_cnn: tuple[ModelProto, Samples], tmp_path: Any) -> None:
    before = quantized(tiny_cnn, CHANGES[0])
    operators = fused(before, tmp_path)
    assert "QLinearConv" in operators
    assert fused(compact(before), tmp_path) == operators


def test_a_small_network_loses_a_third_and_the_float_networks_names_stay(
    tiny_cnn: tuple[ModelProto, Samples],
) -> None:
    floats = Simplify().apply(*tiny_cnn)
    before = quantized(tiny_cnn, CHANGES[0])
    after = compact(before)
    assert after.ByteSize() < 0.67 * before.ByteSize()
    for operator in floats.graph.node:
        assert operator.name in {n.name for n in after.graph.node} or operator.op_type == "Relu"
    assert [v.name for v in after.graph.output] == [v.name for v in floats.graph.output]
    assert max(len(n.name) for n in after.graph.node if n.op_type in PAIRS) < 5


def test_names_that_are_taken_are_not_given_again() -> None:
    model = _pair_around(helper.make_node("Relu", ["real"], ["q1"], "q0"))
    after = compact(model)
    onnx.checker.check_model(after)
    samples = {"x": np.linspace(-1, 1, 8, dtype=np.float32)[None]}
    np.testing.assert_array_equal(run(model, samples)[0], run(after, samples)[0])


def test_what_a_subgraph_reads_keeps_its_name() -> None:
    both = [
        helper.make_graph(
            [helper.make_node(op, ["real", "x_scale"], ["chosen"], op)],
            op,
            [],
            [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
        )
        for op in ("Add", "Mul")
    ]
    node = helper.make_node("If", ["yes"], ["q1"], "if", then_branch=both[0], else_branch=both[1])
    model = _pair_around(node)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    after = compact(model)
    samples = {"x": np.linspace(-1, 1, 8, dtype=np.float32)[None]}
    np.testing.assert_array_equal(run(model, samples)[0], run(after, samples)[0])


def _pair_around(node: NodeProto) -> ModelProto:
    """x -> Q -> DQ -> node (real -> q1) -> Identity -> y."""
    constants = [
        numpy_helper.from_array(np.array(0.01, np.float32), "x_scale"),
        numpy_helper.from_array(np.array(128, np.uint8), "x_zero_point"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero_point"], ["stored"], "x_QuantizeLinear"),
        helper.make_node("DequantizeLinear", ["stored", "x_scale", "x_zero_point"], ["real"], "x_Dequantize"),
        node,
        helper.make_node("Identity", ["q1"], ["y"], "end"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "pair", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
