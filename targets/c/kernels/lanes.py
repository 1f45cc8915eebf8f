"""Products for hosts, whose compilers turn short loops over neighbours into vector instructions.

A block of outputs is computed at once, some vectors wide: their weights lie side by side, and each input is
multiplied by all of them. So no sum is reordered, and the results are those of the other kernels. int8 is
multiplied as float32, too, where no sum can leave the whole numbers that float32 holds: it has the widest
products on each host, and the results are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..nodes import Argument, Array, Call, Flash, Node, Read, Scratch, Write
from .blocks import packed
from .windows import Window

SUMS = 8
"""Vectors of sums in flight: as many as cover the latency of a fused multiply-add, and fit 16 registers."""

FLOAT: dict[str, object] = {
    "integer": False,
    "source": "float",
    "weight": "float",
    "type": "float",
    "result": None,
    "zero": 0,
}
"""What the templates know of a kernel that is not quantized."""
INTEGER: dict[str, object] = {"integer": True, "weight": "int8_t"}


def exact(depth: int, source: np.dtype[np.generic]) -> bool:
    """Whether so many products of stored inputs and int8 weights surely have a sum that float32 holds."""
    largest = 255 if source == np.uint8 else 128
    return depth * largest * 128 <= 2**24


@dataclass(frozen=True)
class Blocks:
    """`count` outputs in blocks of `width`, and one of `last` for what remains, filled up with zeros."""

    count: int
    width: int
    last: int

    @property
    def stored(self) -> int:
        """Outputs with the zeros that fill up the last block."""
        return self.count // self.width * self.width + self.last


def blocks(count: int, lanes: int, tile: int) -> Blocks:
    """For `tile` rows of inputs at once."""
    width = lanes * min(SUMS // tile, -(-count // lanes))
    return Blocks(count, width, -(-(count % width) // lanes) * lanes)


def filled(values: Array, groups: int, cut: Blocks) -> Array:
    """Biases or factors of all groups, filled up as the weights are."""
    return np.ascontiguousarray(_filled(values.reshape(groups, -1), cut)).ravel()


@dataclass(frozen=True)
class Run:
    """Neighbours computed one run after another: `vectors` of `width` each, until `span` are done."""

    width: int
    vectors: int
    span: int

    @property
    def ahead(self) -> int:
        return self.width * self.vectors


def run(count: int, lanes: int) -> Run:
    width = 2 * lanes
    vectors = min(SUMS // 2, -(-count // width))
    ahead = width * vectors
    return Run(width, vectors, -(-count // ahead) * ahead)


def _filled(array: Array, cut: Blocks) -> Array:
    made = np.zeros((len(array), cut.stored, *array.shape[2:]), array.dtype)
    made[:, : cut.count] = array
    return made


def convolution(
    node: Node, lanes: int, weights: Array, bias: Array, factors: tuple[Array, ...], sizes: dict[str, object],
    tile: int, reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """`weights` [groups, outputs, depth], float32, or int8 with `factors`."""
    groups, outputs, depth = weights.shape
    cut = blocks(outputs, lanes, tile)
    params = {
        **sizes, "depth": depth, "tile": tile, "width": cut.width, "last": cut.last, "stored": cut.stored,
    }  # fmt: skip
    scratch = depth + cut.stored * (2 if factors else 1)
    constants = _constants(
        node, packed(_filled(weights, cut), cut.width), *(filled(v, groups, cut) for v in (bias, *factors))
    )
    arguments = (Read(node.inputs[0]), *constants, Scratch(scratch * tile * 4), Write(node.outputs[0]))
    return Call("conv_lanes.c.j2", params, arguments, reuse)


def depthwise(
    node: Node, lanes: int, weights: Array, bias: Array, factors: tuple[Array, ...], sizes: dict[str, object],
    plane: tuple[int, int], reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """With a stride of 1: in one run from the first output of a plane to the last. `weights`: see above.

    `plane`: rows and columns of an input plane with its padding.
    """
    rows, columns = plane
    shape = sizes["window"]
    assert isinstance(shape, Window)
    way = run((shape.result[0] - 1) * columns + shape.result[1], lanes)
    params = {
        **sizes, "rows": rows, "columns": columns,
        "span": way.span, "ahead": way.ahead, "width": way.width, "vectors": way.vectors,
    }  # fmt: skip
    scratch = Scratch((rows * columns + way.ahead + way.span) * 4)
    constants = _constants(node, weights, bias, *factors)
    arguments = (Read(node.inputs[0]), *constants, scratch, Write(node.outputs[0]))
    return Call("conv_depthwise_lanes.c.j2", params, arguments, reuse)


def dense(
    node: Node, lanes: int, weights: Array, bias: Array, factors: tuple[Array, ...], params: dict[str, object]
) -> Call:  # fmt: skip
    """`weights` [columns, depth], float32, or int8 with `factors`; `params` has the `tile`."""
    columns, depth = weights.shape
    tile = int(str(params["tile"]))
    cut = blocks(columns, lanes, tile)
    made = {
        **params, "columns": columns, "depth": depth,
        "width": cut.width, "last": cut.last, "stored": cut.stored,
    }  # fmt: skip
    scratch = (Scratch((cut.stored + depth) * tile * 4),) if factors else ()
    constants = _constants(
        node, packed(_filled(weights[None], cut), cut.width), filled(bias, 1, cut), *factors
    )
    arguments = (Read(node.inputs[0]), *constants, *scratch, Write(node.outputs[0]))
    return Call("linear_lanes.c.j2", made, arguments)


def _constants(node: Node, weights: Array, bias: Array, *factors: Array) -> tuple[Argument, ...]:
    named = (("weights", weights), ("bias", bias), *(("scale", f) for f in factors))
    return tuple(Flash(data, f"{hint}_{node.name}") for hint, data in named)
