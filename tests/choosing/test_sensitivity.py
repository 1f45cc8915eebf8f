"""Which layers int8 hurts: the noise of each against a computation of its own; a layer with an outlier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue.choosing.sensitivity import rank
from sprue.passes.simplify import Simplify

Case = tuple[ModelProto, dict[str, Any]]


def test_the_noise_of_a_layer_is_what_quantizing_it_alone_adds(tiny_mlp: Case) -> None:
    """The first layer, by hand: u8 inputs over their range with zero in it, one s8 scale a column."""
    model, samples = tiny_mlp
    x = samples["x"].astype(np.float64)
    weight = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float64)
    low, high = min(0, x.min()), max(0, x.max())
    step = (high - low) / 255
    zero = round(-low / step)
    held = (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step
    scale = np.abs(weight).max(axis=0) / 127
    stored = np.clip(np.rint(weight / scale), -127, 127) * scale
    layer = x @ weight
    noise = ((held @ stored - layer) ** 2).sum() / (layer**2).sum()
    ranked = {layer.node: layer.noise for layer in rank(Simplify().apply(model, {}), samples)}
    assert ranked["into"] == pytest.approx(noise, rel=0.02)
    assert set(ranked) == {"into", "out"}


def test_a_layer_whose_weights_have_an_outlier_comes_first(outlier: Case) -> None:
    model, samples = outlier
    ranked = rank(model, samples)
    assert {layer.node for layer in ranked[1:]} == {"first", "last"}
    assert ranked[0].node == "ruined"
    assert ranked[0].noise > 100 * ranked[1].noise
    assert rank(model, samples) == ranked


def test_a_network_without_layers_has_no_ranking() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert rank(model, {"x": np.ones((4, 4), np.float32)}) == []
