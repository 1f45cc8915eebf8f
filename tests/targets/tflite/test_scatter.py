"""Scatters that multiply or compare: several values on one place, infinities, and what lies outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from sprue.errors import SprueError

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
from .build import lowered_runner

INF = np.inf
DATA = np.array([[1, -INF, 3], [-5, INF, -0.5], [0, 2, -INF]], np.float32)
UPDATES = np.array([[-INF, -INF, 4], [-7, 0.25, INF], [2, 3, -1]], np.float32)
PLACES = np.array([[0, 2, 2], [-3, 1, 0], [0, 1, 1]], np.int64)
"""Two or three values fall on one place of a column."""
HOW = {"mul": np.multiply, "min": np.minimum, "max": np.maximum}


def model(op: str, indices: tuple[int, ...], updates: tuple[int, ...], kind: int, **given: Any) -> ModelProto:
    fed = [
        helper.make_tensor_value_info("x", kind, DATA.shape),
        helper.make_tensor_value_info("i", TensorProto.INT64, indices),
        helper.make_tensor_value_info("u", kind, updates),
    ]
    made = [helper.make_tensor_value_info("y", kind, DATA.shape)]
    graph = helper.make_graph([helper.make_node(op, ["x", "i", "u"], ["y"], "n", **given)], "g", fed, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_all_that_falls_on_a_place_is_combined_with_what_was_there(how: str, dtype: type) -> None:
    x, u = DATA, UPDATES
    if dtype != np.float32 or how == "mul":
        x, u = np.clip(x, -9, 9).astype(dtype), np.clip(u, -9, 9).astype(dtype)
    elements, rows = x.copy(), x.copy()
    for column in range(3):
        HOW[how].at(elements[:, column], PLACES[:, column], u[:, column])
    HOW[how].at(rows, PLACES[0], u)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    runner = lowered_runner(model("ScatterElements", (3, 3), (3, 3), kind, axis=0, reduction=how))
    np.testing.assert_array_equal(runner.run({"x": x, "i": PLACES, "u": u})["y"], elements)
    runner = lowered_runner(model("ScatterND", (3, 1), (3, 3), kind, reduction=how))
    np.testing.assert_array_equal(runner.run({"x": x, "i": PLACES[0][:, None], "u": u})["y"], rows)


def test_a_place_outside_fails_when_it_runs_even_where_another_axis_would_hold_it() -> None:
    runner = lowered_runner(model("ScatterND", (1, 2), (1,), TensorProto.FLOAT, reduction="max"))
    feeds = {"x": DATA, "u": np.ones(1, np.float32)}
    for place in ([0, 3], [3, 0], [0, -4], [2**32, 0]):
        with pytest.raises(SprueError):
            runner.run(feeds | {"i": np.array([place])})
