"""8-bit weights: what is stored against its definition, and what onnxruntime makes of it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue.errors import CheckError
from sprue.graph import serialise, weights
from sprue.passes.quantize_weights import QuantizeWeights, quantized, stored_weights, widened
from sprue.passes.simplify import Simplify

Case = tuple[ModelProto, dict[str, Any]]


@given(
    shapes.arrays(np.float32, (5, 7), elements=st.floats(-9000, 9000, width=32)),
    st.sampled_from([(0,), (1,), (0, 1)]),
)
def test_no_value_moves_by_more_than_a_step(array: Any, axes: tuple[int, ...]) -> None:
    """Half a step of its own, and half of one by which the zero point was rounded; 255 steps are the range,
    rounded up to half precision.
    """
    values, zero, scale = quantized(array, axes)
    assert [str(a.dtype) for a in (values, zero, scale)] == ["uint8", "uint8", "float16"]
    step = scale.astype(np.float64)
    with_zero = np.maximum(array.max(axis=axes, keepdims=True), 0) - np.minimum(
        array.min(axis=axes, keepdims=True), 0
    )
    assert (step <= with_zero.astype(np.float64) / 255 * (1 + 2**-9) + 1.2e-7).all()
    assert (np.abs(widened(values, zero, scale) - array.astype(np.float64)) <= 1.001 * step).all()
    assert (widened(values, zero, scale)[array == 0] == 0).all()


@pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm", "tiny_mlp"])
def test_the_network_computes_with_the_weights_that_are_stored(
    network: str, request: pytest.FixtureRequest
) -> None:
    model, samples = request.getfixturevalue(network)
    simple = Simplify().apply(model, {})
    made = QuantizeWeights().apply(simple, {})
    expected = ModelProto.FromString(serialise(simple))
    found = stored_weights(simple)
    for tensor in expected.graph.initializer:
        if tensor.name in found:
            array = numpy_helper.to_array(tensor)
            rounded = widened(*quantized(array, found[tensor.name]))
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    assert found
    for one, other in zip(run(made, samples), run(expected, samples), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_matrix_takes_a_quarter_or_in_half_precision_a_half(tiny_mlp: Case) -> None:
    simple = Simplify().apply(tiny_mlp[0], {})
    for name, axes in stored_weights(simple).items():
        array = weights(simple)[name]
        scales = array.size // prod(array.shape[a] for a in axes)
        for half, size in (((), array.size + 3 * scales), ((name,), 2 * array.size)):
            held = weights(QuantizeWeights(half=half).apply(simple, {}))
            assert name not in held
            index = list(stored_weights(simple)).index(name)
            assert sum(a.nbytes for k, a in held.items() if k.startswith(f"w{index}")) == size


def test_onnxruntime_folds_what_widens_the_weights(tiny_bilstm: Case, tmp_path: Any) -> None:
    """So that it computes with float32 constants, as fast as without."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    operators = []
    simple = Simplify().apply(tiny_bilstm[0], {})
    for index, model in enumerate((simple, QuantizeWeights().apply(simple, {}))):
        options.optimized_model_filepath = str(tmp_path / f"{index}.onnx")
        ort.InferenceSession(serialise(model), options, providers=["CPUExecutionProvider"])
        written = ModelProto.FromString((tmp_path / f"{index}.onnx").read_bytes())
        operators.append(sorted(n.op_type for n in written.graph.node))
    assert operators[0] == operators[1]


def test_biases_masks_and_what_other_operators_read_stay_as_they_are() -> None:
    held = {
        "kernel": np.ones((8, 8), np.float32),
        "bias": np.ones((1, 8), np.float32),
        "mask": np.full((8, 8), -1e9, np.float32),
        "turned": np.ones((8, 8), np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "kernel"], ["a"], "a"),
        helper.make_node("Add", ["a", "bias"], ["b"], "b"),
        helper.make_node("Add", ["b", "mask"], ["c"], "c"),
        helper.make_node("MatMul", ["c", "turned"], ["d"], "d"),
        helper.make_node("Transpose", ["turned"], ["e"], "e"),
        helper.make_node("Add", ["d", "e"], ["y"], "y"),
    ]
    assert list(stored_weights(network(nodes, held))) == ["kernel"]
    with pytest.raises(CheckError, match="no weights would become smaller"):
        QuantizeWeights().apply(network(nodes[3:], held | {"c": np.ones((8, 8), np.float32)}, "c"), {})


def network(nodes: list[Any], held: dict[str, Any], given: str = "x") -> ModelProto:
    x = helper.make_tensor_value_info(given, TensorProto.FLOAT, [8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 8])
    tensors = [numpy_helper.from_array(v, k) for k, v in held.items() if k != given]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: ModelProto, samples: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    made: list[Any] = ort.InferenceSession(serialise(model), options, providers=["CPUExecutionProvider"]).run(
        None, samples
    )
    return made
