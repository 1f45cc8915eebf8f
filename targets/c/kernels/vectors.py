"""int8 convolutions and dense layers for cores that multiply sixteen bytes by sixteen at once (Arm's MVE).

Inputs stay bytes: they are gathered as they are stored, and what their zero point adds to each sum is in its
bias. A row of weights is as long as the inputs, without padding: where the last sixteen reach into
the next row, the inputs are zero. The kernels are plain C around runtime/dot16.c, so that any core computes
the same.
"""

from __future__ import annotations

import numpy as np

from ..nodes import Array, Call, Flash, Node, Read, Scratch, Write
from .windows import Window

LANES = 16
ROWS = 4
"""Output channels computed at once: they share the load of the inputs. With two pixels: two."""
FAR = 2**16
"""Distances that sixteen bits hold: how far the inputs of one pixel may lie apart to be gathered at once."""


def rows_of(weights: Array, name: str) -> Flash:
    """int8 [rows, ...] in order, and zeros for what the last sixteen read beyond."""
    return Flash(np.concatenate([weights.ravel(), np.zeros(LANES - 1, np.int8)]), f"weights_{name}")


def chunks(depth: int) -> int:
    return -(-depth // LANES)


def convolution(
    node: Node, weights: Array, bias: Array, factors: Flash, sizes: dict[str, object], tile: int,
    reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """`weights` int8 [outputs, inputs of a group, height, width]; one batch or many."""
    depth = int(np.prod(weights.shape[1:]))
    shape = sizes["window"]
    assert isinstance(shape, Window)
    tile = min(tile, 2, shape.result[0] * shape.result[1])
    places = offsets(shape, int(str(sizes["inputs"])))
    params = {
        **sizes, "depth": depth, "chunks": chunks(depth), "stride": chunks(depth) * LANES,
        "tile": tile, "rows": ROWS // tile, "gathered": places is not None,
    }  # fmt: skip
    table = () if places is None else (Flash(places, f"offsets_{node.name}"),)
    arguments = (
        Read(node.inputs[0]), rows_of(weights, node.name), Flash(bias, f"bias_{node.name}"), factors, *table,
        Scratch(chunks(depth) * LANES * tile), Write(node.outputs[0]),
    )  # fmt: skip
    return Call("conv_vectors_int8.c.j2", params, arguments, reuse)


def depthwise(
    node: Node, weights: Array, bias: Array, factors: Flash, sizes: dict[str, object],
    plane: tuple[int, int], reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """Four outputs of a row at once, for an 8-bit result. `weights` int8 [outputs, 1, height, width].

    `plane`: rows and columns of an input plane with its padding.
    """
    shape = sizes["window"]
    assert isinstance(shape, Window)
    rows, columns = plane
    beyond = 3 * shape.strides[1]  # what the last four of a row read too far
    params = {**sizes, "rows": rows, "columns": columns}
    arguments = (
        Read(node.inputs[0]), Flash(weights, f"weights_{node.name}"), Flash(bias, f"bias_{node.name}"),
        factors, Scratch(rows * columns + beyond), Write(node.outputs[0]),
    )  # fmt: skip
    return Call("conv_depthwise_vectors_int8.c.j2", params, arguments, reuse)


def offsets(shape: Window, inputs: int) -> Array | None:
    """uint16: from the first input of a pixel to each of them, filled up to a multiple of eight."""
    (height, width), (down, right) = shape.kernel, shape.dilations
    channel = np.arange(inputs).reshape(-1, 1, 1) * (shape.size[0] * shape.size[1])
    row = np.arange(height).reshape(1, -1, 1) * down * shape.size[1]
    flat = (channel + row + np.arange(width).reshape(1, 1, -1) * right).ravel()
    if flat[-1] >= FAR:
        return None
    return np.concatenate([flat, np.zeros(-len(flat) % 8, np.int64)]).astype(np.uint16)


def dense(
    node: Node, weights: Array, bias: Array, factors: Flash, params: dict[str, object], rows: int
) -> Call:
    """`weights` int8 [columns, depth]."""
    columns, depth = weights.shape
    whole = depth % LANES == 0
    made = {
        **params, "rows": rows, "columns": columns, "depth": depth, "chunks": chunks(depth), "whole": whole,
        "block": ROWS,
    }  # fmt: skip
    scratch = () if whole else (Scratch(chunks(depth) * LANES),)
    arguments = (
        Read(node.inputs[0]), rows_of(weights, node.name), Flash(bias, f"bias_{node.name}"), factors,
        *scratch, Write(node.outputs[0]),
    )  # fmt: skip
    return Call("linear_vectors_int8.c.j2", made, arguments)
