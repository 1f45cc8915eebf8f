"""Which layers are named: those with pairs that can clamp, with what clamping does to them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue.choosing.saturation import saturating
from sprue.passes.quantize_static import QuantizeStatic


def network(large: bool) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """x >= 0 [n, 8] -> MatMul -> y [n, 4]; with `large` weights all of one size, else one a column."""
    weight = np.full((8, 4), 0.9, np.float32) if large else np.zeros((8, 4), np.float32)
    weight[0] = 1
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    graph = helper.make_graph(nodes, "pairs", [x], [y], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model, {"x": np.full((5, 8), 2, np.float32)}


def test_a_layer_that_clamps_is_named_with_its_figures() -> None:
    """All activations are 255: the pairs are 255 * (127 + 114) and 255 * (114 + 114), clamped to 32767."""
    model, samples = network(large=True)
    made = QuantizeStatic(activations="uint8", pair_safe=True).apply(model, samples)
    (layer,) = saturating(model, made, samples)
    assert (layer.node, layer.op, layer.channels, layer.outputs) == ("product", "MatMul", 4, 4)
    assert layer.clamped == 1.0
    exact = 255 * (127 + 7 * 114)
    assert layer.error == pytest.approx((exact - 4 * 32767) / exact, rel=0.01)
    assert str(layer).startswith("product (4 of 4 channels; 100 % of its pairs clamped, an error of 44.4 %)")


def test_a_layer_whose_weights_cannot_clamp_is_not_named() -> None:
    model, samples = network(large=False)
    made = QuantizeStatic(activations="uint8", pair_safe=True).apply(model, samples)
    assert saturating(model, made, samples) == []
