"""QuantizeRecurrent: int8 weights for LSTM and GRU, the rest untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue.errors import SprueError
from sprue.graph import serialise, weights
from sprue.passes.quantize_recurrent import QuantizeRecurrent

Case = tuple[ModelProto, dict[str, NDArray[Any]]]


def run(model: ModelProto, samples: dict[str, NDArray[Any]]) -> NDArray[Any]:
    session = ort.InferenceSession(serialise(model), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, samples)
    return np.asarray(result)


def test_lstm_weights_become_int8_with_a_scale_for_each_gate_of_each_unit(tiny_bilstm: Case) -> None:
    before, after = weights(tiny_bilstm[0]), weights(QuantizeRecurrent().apply(tiny_bilstm[0], {}))
    assert {n: (a.dtype.name, a.shape) for n, a in after.items() if "int8" in n} == {
        "W_int8": ("int8", (2, 32, 6)),
        "W_int8_scale": ("float32", (32,)),
        "W_int8_zero_point": ("int8", (32,)),
        "R_int8": ("int8", (2, 32, 8)),
        "R_int8_scale": ("float32", (32,)),
        "R_int8_zero_point": ("int8", (32,)),
    }
    assert "W" not in after
    assert (after["embedding"] == before["embedding"]).all()
    scale: NDArray[Any] = after["W_int8_scale"]
    original: NDArray[Any] = before["W"]
    restored = after["W_int8"].astype(np.float32) * scale[None, :, None]
    assert np.abs(restored - original).max() <= scale.max() / 2 * 1.001


def test_the_result_stays_near(tiny_bilstm: Case) -> None:
    model, samples = tiny_bilstm
    wanted = run(model, samples)
    got = run(QuantizeRecurrent().apply(model, {}), samples)
    assert 0 < np.abs(got - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_gru_has_three_gates_and_int8_weights_too() -> None:
    rng = np.random.default_rng(3)
    shapes = {"w": (1, 12, 5), "r": (1, 12, 4), "b": (1, 24)}
    given = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    node = helper.make_node("GRU", ["x", *shapes], ["y"], "gru", hidden_size=4)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y"))
    tensors = [numpy_helper.from_array(a, n) for n, a in given.items()]
    graph = helper.make_graph([node], "gru", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made = QuantizeRecurrent().apply(model, {})
    assert {n: a.shape for n, a in weights(made).items() if a.dtype == np.int8 and a.ndim == 3} == {
        "w_int8": (1, 12, 5),
        "r_int8": (1, 12, 4),
    }
    samples = {"x": rng.standard_normal((6, 2, 5)).astype(np.float32)}
    assert 0 < np.abs(run(made, samples) - run(model, samples)).max() < 0.02


def test_a_model_without_lstm_or_gru_stays_as_it_is(tiny_cnn: Case) -> None:
    made = QuantizeRecurrent().apply(tiny_cnn[0], {})
    assert [n.op_type for n in made.graph.node] == [n.op_type for n in tiny_cnn[0].graph.node]


def test_the_given_model_is_not_changed_and_the_bytes_are_the_same_each_time(tiny_bilstm: Case) -> None:
    before = serialise(tiny_bilstm[0])
    first = serialise(QuantizeRecurrent().apply(tiny_bilstm[0], {}))
    assert serialise(QuantizeRecurrent().apply(tiny_bilstm[0], {})) == first
    assert serialise(tiny_bilstm[0]) == before


def test_a_row_of_zeros_gets_a_usable_scale(tiny_bilstm: Case) -> None:
    model = ModelProto()
    model.CopyFrom(tiny_bilstm[0])
    tensor = next(t for t in model.graph.initializer if t.name == "W")
    values = numpy_helper.to_array(tensor).copy()
    values[:, 3] = 0
    tensor.CopyFrom(numpy_helper.from_array(values, "W"))
    made = weights(QuantizeRecurrent().apply(model, {}))
    assert made["W_int8_scale"][3] == 1
    assert not made["W_int8"][:, 3].any()


def test_nan_weights_are_refused_by_name(tiny_bilstm: Case) -> None:
    model = ModelProto()
    model.CopyFrom(tiny_bilstm[0])
    tensor = next(t for t in model.graph.initializer if t.name == "R")
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, "R"))
    with pytest.raises(SprueError, match="'R'"):
        QuantizeRecurrent().apply(model, {})
