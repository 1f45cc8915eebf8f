"""Where the maxima of a pool are: with padding, strides, dilations and ties, as onnxruntime counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
from .build import lowered_runner, reference

CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "padding and strides": ((2, 3, 7, 6), {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]}),
    "dilations": ((1, 2, 8, 8), {"kernel_shape": [2, 3], "dilations": [3, 2]}),
    "columns first": ((1, 2, 5, 4), {"kernel_shape": [2, 2], "storage_order": 1}),
    "one axis": ((2, 2, 9), {"kernel_shape": [3], "pads": [1, 1]}),
    "three axes": ((1, 2, 4, 4, 3), {"kernel_shape": [2, 2, 2]}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_of_equal_maxima_is_named(name: str) -> None:
    shape, given = CASES[name]
    fed = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    made = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("at", TensorProto.INT64, None),
    ]
    node = helper.make_node("MaxPool", ["x"], ["y", "at"], "n", **given)
    graph = helper.make_graph([node], "g", fed, made)
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = np.random.default_rng(2).integers(-4, 3, shape).astype(np.float32)
    if name == "padding and strides":
        x[0, 0] = -np.inf  # padding is no place, however small the rest
    wanted, actual = reference(source, {"x": x}), lowered_runner(source).run({"x": x})
    np.testing.assert_array_equal(actual["y"], wanted["y"])
    seen = np.isfinite(wanted["y"])  # of windows full of -inf onnxruntime names no place
    np.testing.assert_array_equal(actual["at"][seen], wanted["at"][seen])
    assert len(np.unique(wanted["at"])) > 4, "the case is too tame to show anything"
