"""Real numbers to int8 and back, as ONNX defines it; and a report that lies about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from sprue.border import Border, Edge, read_border
from sprue.load import integers, reals

EDGES: dict[str, dict[str, Any]] = {
    "x": {"dtype": "int8", "scale": 0.5, "zero_point": -3},
    "tokens": {"dtype": "int64"},
}


def by_onnx(op: str, value: Any, scale: float, zero: int) -> Any:
    kinds = (TensorProto.FLOAT, TensorProto.INT8)
    takes, gives = kinds if op == "QuantizeLinear" else kinds[::-1]
    typed = (("x", takes), ("s", TensorProto.FLOAT), ("z", TensorProto.INT8))
    ports = [helper.make_tensor_value_info(n, k, None) for n, k in typed]
    y = helper.make_tensor_value_info("y", gives, None)
    body = helper.make_graph([helper.make_node(op, ["x", "s", "z"], ["y"])], "g", ports, [y])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 21)])
    made: Any = ReferenceEvaluator(model).run(None, {"x": value, "s": np.float32(scale), "z": np.int8(zero)})
    return made[0]


@given(
    st.lists(st.floats(-1000, 1000, width=32), min_size=1),
    st.floats(0.0625, 8, width=32),
    st.integers(-128, 127),
)
def test_the_loader_quantizes_as_onnx_does(values: list[float], scale: float, zero: int) -> None:
    edges = {"x": {"dtype": "int8", "scale": scale, "zero_point": zero}}
    x = np.array([*values, 0.5 * scale, 1.5 * scale, -2.5 * scale], np.float32)
    stored = integers({"x": x}, edges)["x"]
    np.testing.assert_array_equal(stored, by_onnx("QuantizeLinear", x, scale, zero), strict=True)
    real = by_onnx("DequantizeLinear", stored, scale, zero)
    np.testing.assert_array_equal(reals({"x": stored}, edges)["x"], real, strict=True)


def test_what_is_int8_already_and_what_is_no_real_number_goes_in_as_it_is() -> None:
    given_ = {"x": np.array([5], np.int8), "tokens": np.array([9])}
    assert {n: a.tolist() for n, a in integers(given_, EDGES).items()} == {"x": [5], "tokens": [9]}


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="'x' holds NaN"):
        integers({"x": np.array([1, np.nan], np.float32)}, EDGES)


def test_a_border_comes_back_from_json() -> None:
    border = Border({"x": Edge("int8", 0.5, -3), "tokens": Edge("int64")}, {"y": Edge("float32")})
    assert read_border(border.to_json()) == border


@pytest.mark.parametrize(
    "lie", [{"scale": 0.0}, {"scale": float("inf")}, {"zero_point": 128}, {"dtype": "f"}]
)
def test_an_impossible_quantization_is_refused(lie: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        read_border({"inputs": {"x": EDGES["x"] | lie}, "outputs": {}})
