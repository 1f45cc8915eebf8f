"""Indices of 64 bits that are computed or fed: none is cut to the 32 bits that would read another place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue.errors import SprueError

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
from tests.targets.tflite.build import lowered_runner

FAR = [2**32 + 1, 1 - 2**32, 2**31, -(2**31) - 1, 2**62 + 1]
"""Of all but the third and the fourth the low 32 bits are 1: a place that there is."""
TABLE = np.arange(12, dtype=np.float32).reshape(3, 4)
WIDE = np.arange(30, dtype=np.float32).reshape(3, 10)


def made(op: str, inputs: list[Any], shape: tuple[int, ...], opset: int = 18, **given: Any) -> ModelProto:
    """One node. Of its inputs a shape is fed as int64, None as float32 [3, 4]; arrays are constant."""
    fed, constants, names = [], [], []
    for i, value in enumerate(inputs):
        names.append(f"i{i}")
        if isinstance(value, np.ndarray):
            constants.append(numpy_helper.from_array(value, f"i{i}"))
        elif value is None:
            fed.append(helper.make_tensor_value_info(f"i{i}", TensorProto.FLOAT, [3, 4]))
        else:
            fed.append(helper.make_tensor_value_info(f"i{i}", TensorProto.INT64, value))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], "n", **given)], "g", fed, outputs, constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


OUTSIDE = {
    "an embedding": made("Gather", [WIDE, [1]], (1, 10)),
    "a table": made("Gather", [TABLE, [1]], (1, 4)),
    "columns": made("Gather", [None, [1]], (3, 1), axis=1),
    "elements": made("GatherElements", [None, [3, 1]], (3, 1), axis=1),
    "places": made("GatherND", [None, [1, 2]], (1,)),
    "scattered elements": made("ScatterElements", [None, [1, 1], np.ones((1, 1), np.float32)], (3, 4)),
    "scattered places": made("ScatterND", [None, [1, 2], np.ones(1, np.float32)], (3, 4)),
    "axes": made("ReduceSum", [None, [1]], (3, 1)),
    "elements of each row": made("GatherND", [None, [3, 1]], (3,), batch_dims=1),
    "an axis": made("CumSum", [None, []], (3, 4)),
    "paddings": made("Pad", [None, [4]], (3, 4)),
    "mirrored paddings": made("Pad", [None, [4]], (3, 4), mode="reflect"),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_what_lies_beyond_32_bits_fails_when_it_runs(what: str) -> None:
    runner = lowered_runner(OUTSIDE[what])
    for value in FAR:
        with pytest.raises(SprueError):
            runner.run(fed(OUTSIDE[what], value))


INSIDE = {
    "no class": (made("OneHot", [[2], np.array(3), np.array([0, 1], np.float32)], (2, 3)), np.zeros((2, 3))),
    "no triangle": (made("Trilu", [None, []], (3, 4)), np.zeros((3, 4))),
}


def test_what_may_lie_anywhere_is_compared_with_all_of_its_bits() -> None:
    for source, expected in INSIDE.values():
        for value in (2**32, 2**32 + 1, 2**62):
            np.testing.assert_array_equal(lowered_runner(source).run(fed(source, value))["y"], expected)


def test_a_length_beyond_the_axis_turns_the_axis_and_reads_nothing_behind_it() -> None:
    source = made("ReverseSequence", [None, [3]], (3, 4), batch_axis=0, time_axis=1)
    for value in (4, 5, 2**32 + 2, 2**62):
        np.testing.assert_array_equal(lowered_runner(source).run(fed(source, value))["y"], TABLE[:, ::-1])


def test_a_size_that_only_a_reader_tells_holds_or_the_run_fails() -> None:
    nodes = [
        helper.make_node("Range", ["start", "limit", "one"], ["r"]),
        helper.make_node("Sqrt", ["r"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, []) for n in ("start", "limit")]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])]
    constants = [numpy_helper.from_array(np.array([2, 3]), "shape")]
    constants.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    runner = lowered_runner(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    )

    def run(limit: float) -> NDArray[Any]:
        given: dict[str, NDArray[Any]] = {
            "start": np.array(1, np.float32),
            "limit": np.array(limit, np.float32),
        }
        made: NDArray[Any] = runner.run(given)["y"]
        return made

    np.testing.assert_allclose(run(7), np.sqrt(np.arange(1, 7)).reshape(2, 3), rtol=1e-6)
    for limit in (6, 8, 2):
        with pytest.raises(SprueError):
            run(limit)


def fed(source: ModelProto, value: int) -> dict[str, NDArray[Any]]:
    """The table, and `value` wherever an integer is fed."""
    found: dict[str, NDArray[Any]] = {}
    for one in source.graph.input:
        shape = [d.dim_value for d in one.type.tensor_type.shape.dim]
        whole = one.type.tensor_type.elem_type == TensorProto.INT64
        found[one.name] = np.full(shape, value, np.int64) if whole else TABLE
    return found
