"""int8 convolutions and dense layers for vectors of any length: RISC-V's, integers only (Zve32x).

Outputs are computed side by side, as many as eight (or `lmul`) registers hold of their 32-bit sums; the
processor says how many that are. In convolutions and dense layers these are output channels: their weights
lie side by side, and each input is multiplied by all of them. In depthwise convolutions they are neighbours
in a row. Sums become bytes by vectors, too, in fixed point. Beside these instructions stands plain C, which
computes the same on any core.
"""

from __future__ import annotations

import numpy as np

from ..nodes import Array, Call, Flash, Node, Read, Scratch, Write
from .vectors import offsets
from .windows import Window

REGISTERS = 24
"""Of 32, for sums: the rest holds the weights, as bytes and as 16 bits."""
LEAST_LANES = 4
"""32-bit numbers in a register of 128 bits, the shortest that the widths are chosen for."""


def takes(factors: Array) -> bool:
    """Whether sums that become results by such factors can be stored: fixed point only."""
    return bool(factors.dtype == np.int64)


def _registers(outputs: int) -> int:
    """For the sums of one row: no more than are filled."""
    return next(lmul for lmul in (2, 4, 8) if outputs <= lmul * LEAST_LANES or lmul == 8)


def convolution(
    node: Node, weights: Array, bias: Array, factors: Flash, sizes: dict[str, object], tile: int,
    reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """`weights` int8 [outputs, inputs of a group, height, width]; one batch or many."""
    depth = int(np.prod(weights.shape[1:]))
    shape, groups = sizes["window"], int(str(sizes["groups"]))
    assert isinstance(shape, Window)
    lmul = _registers(len(weights) // groups)
    tile = min(tile, REGISTERS // lmul, shape.result[0] * shape.result[1])
    pointwise = shape.kernel == (1, 1) and not shape.padded
    places = None if pointwise else offsets(shape, int(str(sizes["inputs"])))
    params = {**sizes, "depth": depth, "tile": tile, "lmul": lmul, "gathered": places is not None}
    stored = _side_by_side(weights.reshape(groups, -1, depth))
    table = () if places is None else (Flash(places, f"offsets_{node.name}"),)
    arguments = (
        Read(node.inputs[0]), Flash(stored, f"weights_{node.name}"), Flash(bias, f"bias_{node.name}"),
        factors, *table, Scratch(depth * tile), Write(node.outputs[0]),
    )  # fmt: skip
    return Call("conv_scalable_int8.c.j2", params, arguments, reuse)


def depthwise(
    node: Node, weights: Array, bias: Array, factors: Flash, sizes: dict[str, object],
    plane: tuple[int, int], reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """`weights` int8 [outputs, 1, height, width].

    `plane`: rows and columns of an input plane with its padding.
    """
    rows, columns = plane
    params = {**sizes, "rows": rows, "columns": columns}
    arguments = (
        Read(node.inputs[0]), Flash(weights, f"weights_{node.name}"), Flash(bias, f"bias_{node.name}"),
        factors, Scratch(rows * columns), Write(node.outputs[0]),
    )  # fmt: skip
    return Call("conv_depthwise_scalable_int8.c.j2", params, arguments, reuse)


def dense(
    node: Node, weights: Array, bias: Array, factors: Flash, params: dict[str, object], rows: int
) -> Call:
    """`weights` int8 [columns, depth]."""
    columns, depth = weights.shape
    lmul = _registers(columns)
    tile = next(t for t in range(REGISTERS // lmul, 0, -1) if rows % t == 0)
    made = {**params, "rows": rows, "columns": columns, "depth": depth, "tile": tile, "lmul": lmul}
    arguments = (
        Read(node.inputs[0]), Flash(_side_by_side(weights[None]), f"weights_{node.name}"),
        Flash(bias, f"bias_{node.name}"), factors, Write(node.outputs[0]),
    )  # fmt: skip
    return Call("linear_scalable_int8.c.j2", made, arguments)


def _side_by_side(weights: Array) -> Array:
    """[groups, outputs, depth] -> [groups, depth, outputs]."""
    return np.ascontiguousarray(weights.transpose(0, 2, 1)).ravel()
