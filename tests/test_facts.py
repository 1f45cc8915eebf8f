"""What is known of a graph without running it, counted by hand."""

from __future__ import annotations

import json

import pytest
from onnx import ModelProto, TensorProto, helper

from sprue.facts import Facts, facts
from sprue.passes.simplify import Simplify


def test_a_convolution_works_at_every_position(tiny_cnn: tuple[ModelProto, object]) -> None:
    found = facts(Simplify().apply(tiny_cnn[0], {}))
    assert found.operators["Conv"] == 1
    assert found.weights["Conv"] == 8 * 9 + 8
    assert found.multiply_adds == {"Conv": (8 * 9 + 8) * 8 * 8, "Gemm": 10 * 8 + 10}
    assert found.kind == "convolutional"


def test_a_recurrent_layer_works_at_every_step(tiny_bilstm: tuple[ModelProto, object]) -> None:
    found = facts(tiny_bilstm[0])
    assert found.multiply_adds["LSTM"] == 16 * (2 * 32 * 6 + 2 * 32 * 8 + 2 * 64)
    assert found.kind == "recurrent"


def test_products_are_a_transformers_if_there_is_attention(tiny_mlp: tuple[ModelProto, object]) -> None:
    assert facts(tiny_mlp[0]).kind == "dense"
    attending = Facts({"MatMul": 4, "Softmax": 1, "LayerNormalization": 2}, {"MatMul": 9}, {"MatMul": 9})
    assert attending.kind == "transformer"


def test_facts_come_back_from_json(tiny_cnn: tuple[ModelProto, object]) -> None:
    found = facts(tiny_cnn[0])
    assert Facts.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("free", ["length", None])
def test_shapes_that_are_not_known_are_no_error(free: str | None) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", free])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert facts(model).operators == {"Relu": 1}
    assert facts(model).kind
