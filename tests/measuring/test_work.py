"""Work of small networks whose every number is known; the LSTM's in particular, which other counters miss."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue.measuring.work import work

Case = tuple[ModelProto, dict[str, NDArray[np.generic]]]


def test_a_perceptron_by_hand(tiny_mlp: Case) -> None:
    """4 x 8 and 8 x 3 weights; x, hidden twice (written, read), active twice, y."""
    found = work(tiny_mlp[0])
    assert found.parameters == 4 * 8 + 8 * 3
    assert found.weights == 4 * 8 + 8 * 3
    assert found.activations == 4 + 8 + 8 + 8 + 8 + 3
    assert found.other_bytes == 0
    assert found.macs is not None
    assert 56 <= found.macs <= 56 + 3 * 8, "and onnx-tool's own for Relu"


def lstm(steps: int, width: int, hidden: int, directions: int) -> ModelProto:
    shapes = {
        "W": (directions, 4 * hidden, width),
        "R": (directions, 4 * hidden, hidden),
        "B": (directions, 8 * hidden),
    }
    weights = [numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in shapes.items()]
    way = "bidirectional" if directions == 2 else "forward"
    node = helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], "lstm", hidden_size=hidden, direction=way)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, 1, width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [steps, directions, 1, hidden])
    return helper.make_model(helper.make_graph([node], "lstm", [x], [y], weights), ir_version=8)


@pytest.mark.parametrize("directions", [1, 2])
def test_an_lstm_is_counted_at_every_step_in_both_directions(directions: int) -> None:
    """Products: steps x directions x 4 hidden x (width + hidden); the gates' exponentials are less than 5
    %.
    """
    products = 10 * directions * 4 * 1024 * (1024 + 1024)
    found = work(lstm(10, 1024, 1024, directions))
    assert found.macs is not None
    assert products <= found.macs <= 1.05 * products
    assert found.parameters == directions * (4 * 1024 * (1024 + 1024) + 8 * 1024)


def test_a_look_up_moves_the_rows_that_it_gives_out(tiny_bilstm: Case) -> None:
    """16 rows of 6 of a table of 20; the two LSTM matrices and biases, and Gemm's, once each."""
    found = work(tiny_bilstm[0])
    assert found.weights == 16 * 6 + 2 * 32 * (6 + 8) + 2 * 64 + 16 * 5 + 5
    assert found.other_bytes == 16 * 8, "the tokens"


def test_a_network_of_unknown_shapes_has_no_figures(tiny_mlp: Case) -> None:
    model = ModelProto()
    model.CopyFrom(tiny_mlp[0])
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    found = work(model)
    assert (found.macs, found.weights) == (None, None)
    assert found.unknown == "input 'x' has free axes besides the batch"


def test_an_operator_that_onnx_tool_does_not_know_leaves_a_reason(tiny_mlp: Case) -> None:
    model = ModelProto()
    model.CopyFrom(tiny_mlp[0])
    model.graph.node[1].op_type, model.graph.node[1].domain = "Frobnicate", "com.acme"
    found = work(model)
    assert found.macs is None
    assert found.unknown.startswith("onnx-tool: ")
