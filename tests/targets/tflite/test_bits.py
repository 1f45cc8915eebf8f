"""Operators on bits, at the ends of every integer type: as NumPy has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
from .build import lowered_runner

INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
BITWISE = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}


def model(
    op: str, inputs: list[np.ndarray], out: np.dtype, shape: tuple[int, ...], **given: Any
) -> ModelProto:
    fed = [
        helper.make_tensor_value_info(f"i{i}", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for i, x in enumerate(inputs)
    ]
    made = [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(out), shape)]
    node = helper.make_node(op, [v.name for v in fed], ["y"], "n", **given)
    graph = helper.make_graph([node], "g", fed, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 26)], ir_version=11)


def run(op: str, *inputs: np.ndarray, out: np.dtype | None = None, **given: Any) -> np.ndarray:
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    runner = lowered_runner(model(op, list(inputs), out or inputs[0].dtype, shape, **given))
    made: np.ndarray = runner.run({f"i{i}": x for i, x in enumerate(inputs)})["y"]
    return made


def ends(dtype: np.dtype) -> np.ndarray:
    """Numbers of the type at its ends, around zero, and in between."""
    limits = np.iinfo(dtype)
    random = np.random.default_rng(1).integers(limits.min, limits.max, 20, dtype, endpoint=True)
    few = np.array([limits.min, limits.min + 1, 0, 1, limits.max - 1, limits.max, limits.max // 3], dtype)
    return np.concatenate([few, np.invert(few), random])


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_each_pair_of_numbers_is_combined_bit_by_bit(dtype: np.dtype) -> None:
    x = ends(dtype)
    for op, expected in BITWISE.items():
        np.testing.assert_array_equal(run(op, x[:, None], x[None, :]), expected(x[:, None], x[None, :]))
    np.testing.assert_array_equal(run("BitwiseNot", x), np.invert(x))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_a_shift_by_the_width_or_more_leaves_nothing_but_the_sign(dtype: np.dtype) -> None:
    bits = 8 * dtype.itemsize
    x = ends(dtype)[:, None]
    by = np.array([0, 1, 7, bits // 2 - 1, bits // 2, bits - 1, bits, np.iinfo(dtype).max], dtype)[None, :]
    inside = by < bits
    left = np.where(inside, np.left_shift(x, np.where(inside, by, 0)), 0)
    right = np.right_shift(x, np.minimum(by, bits - 1))
    right = np.where(inside | (x < 0), right, 0)
    np.testing.assert_array_equal(run("BitShift", x, by, direction="LEFT"), left)
    np.testing.assert_array_equal(run("BitShift", x, by, direction="RIGHT"), right)


def test_a_bit_cast_keeps_every_bit() -> None:
    for dtype in INTEGERS:
        wanted = np.dtype(dtype.name.removeprefix("u") if dtype.kind == "u" else f"u{dtype.name}")
        x = ends(dtype)
        np.testing.assert_array_equal(
            run("BitCast", x, out=wanted, to=helper.np_dtype_to_tensor_dtype(wanted)), x.view(wanted)
        )
