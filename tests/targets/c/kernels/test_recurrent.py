"""LSTM and GRU with int8 weights in flash, against onnxruntime on the same graph in float."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from ..host import build
from ..models import Array, chain, reference, source
from ..test_integer_kernels import codes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers"),
]


def recurrent(
    op: str,
    direction: str,
    outputs: int,
    *,
    hidden: int = 8,
    width: int = 6,
    scaled: str = "wr",
    **attributes: Any,
) -> tuple[ModelProto, dict[str, Array]]:
    """int8 weights for those of `scaled`; from a start far outside -1..1, which hidden states never reach."""
    gates = (4 if op == "LSTM" else 3) * hidden
    directions = 2 if direction == "bidirectional" else 1
    rng = np.random.default_rng([outputs, len(direction)])  # of its own: whatever tests ran before
    constants: dict[str, Array] = {"b": rng.standard_normal((directions, 2 * gates)).astype(np.float32)}
    nodes = []
    for name, depth in (("w", width), ("r", hidden)):
        if name not in scaled:
            constants[f"{name}_real"] = rng.standard_normal((directions, gates, depth)).astype(np.float32)
            continue
        constants |= {name: codes("int8", directions, gates, depth), f"{name}_zero": np.zeros(gates, np.int8)}
        constants[f"{name}_scale"] = rng.uniform(0.002, 0.01, gates).astype(np.float32)
        given = [name, f"{name}_scale", f"{name}_zero"]
        nodes.append(helper.make_node("DequantizeLinear", given, [f"{name}_real"], f"dq_{name}", axis=1))
    feeds: dict[str, Array] = {
        "x": rng.standard_normal((5, 2, width)).astype(np.float32),
        "h": (rng.standard_normal((directions, 2, hidden)) * 9).astype(np.float32),
    }
    if op == "LSTM":
        feeds["c"] = rng.standard_normal((directions, 2, hidden)).astype(np.float32)
    made = [f"y{i}" for i in range(outputs)] if outputs > 1 else ["", "y0"]
    names = ["x", "w_real", "r_real", "b", "", *list(feeds)[1:]]
    attributes |= {"hidden_size": hidden, "direction": direction}
    nodes.append(helper.make_node(op, names, made, op.lower(), **attributes))
    return chain(nodes, feeds, constants, "y0", TensorProto.FLOAT), feeds


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_an_lstm_with_int8_weights_agrees_with_the_float_graph(
    direction: str, outputs: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, feeds = recurrent("LSTM", direction, outputs)
    result = source(model, "m0")
    assert "smlad" in result.files["m0.c"]
    got = build(tmp_path_factory.mktemp("lstm"), [result]).run(0, feeds)["y0"]
    np.testing.assert_allclose(got, reference(model, feeds)["y0"], rtol=0, atol=2e-4)


@pytest.mark.parametrize("reset_after", [0, 1])
def test_a_gru_with_int8_weights_in_flash_agrees_with_the_float_graph(
    reset_after: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, feeds = recurrent("GRU", "bidirectional", 2, linear_before_reset=reset_after)
    result = source(model, "m0")
    bias, weights, scales = 4 * 2 * 48, 2 * 24 * (6 + 8), 4 * 2 * 24  # the same scales for both directions
    assert result.constants_bytes == bias + weights + scales
    got = build(tmp_path_factory.mktemp("gru"), [result]).run(0, feeds)["y0"]
    np.testing.assert_allclose(got, reference(model, feeds)["y0"], rtol=0, atol=1e-5)
