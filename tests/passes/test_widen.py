"""float16 leaves the inside of a graph, and stays at its border and where it rounds on purpose."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from sprue.passes.widen import Widen

HALVES = """<ir_version: 9, opset_import: ["" : 18]>
net (float16[1,3] x) => (float16[1,3] y) {
  a = Mul(x, w)
  y = Add(a, x)
}"""
ROUNDING = """<ir_version: 9, opset_import: ["" : 18]>
net (float[1,3] x) => (float[1,3] y) {
  a = Cast <to = 10> (x)
  b = Neg(a)
  y = Cast <to = 1> (b)
}"""


def halves() -> onnx.ModelProto:
    model = onnx.parser.parse_model(HALVES)
    weights = np.array([0.1, 3, -7], np.float16)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return model


def run(model: onnx.ModelProto, x: NDArray[np.floating]) -> NDArray[np.floating]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_only_the_border_is_float16() -> None:
    model = halves()
    wide = Widen().apply(model, {})
    onnx.checker.check_model(wide, full_check=True)
    assert {t.data_type for t in wide.graph.initializer} == {TensorProto.FLOAT}
    assert [n.op_type for n in wide.graph.node] == ["Cast", "Mul", "Add", "Cast"]
    x = np.array([[0.3, 2, 1000]], np.float16)
    made = run(wide, x)
    assert made.dtype == np.float16
    np.testing.assert_allclose(made, run(model, x), rtol=2e-3)


def test_a_cast_to_float16_inside_still_rounds() -> None:
    model = onnx.parser.parse_model(ROUNDING)
    x = np.array([[1 / 3, 1e9, 70000]], np.float32)
    np.testing.assert_array_equal(run(Widen().apply(model, {}), x), run(model, x))


def test_a_model_without_float16_stays_as_it_is() -> None:
    model = onnx.parser.parse_model(ROUNDING.replace("to = 10", "to = 11"))
    assert Widen().apply(model, {}) is model
