"""int8 convolutions and dense layers for cores with many registers and no instruction for pairs (RISC-V).

Convolutions multiply the inputs of two pixels at once: they lie in one word, 16 bits apart: x0 + x1 * 2^16.
A word times a weight is two products, of which the lower carries into the upper; that is undone at the end.
The words of a `run` of products are added up while both sums surely fit 16 bits, whatever the inputs are. How
many that are, the weights say; two always do. Each run begins with `start`, so that its lower half is not
negative and its upper half fits. Then the word is added to `t`, its upper half to `h`: all is modulo 2^32, so
h is the sum of the second pixel, and t - h * 2^16 that of the first.

In depthwise convolutions and dense layers, where making such words costs more than it saves, more outputs are
kept in registers, for which an input is loaded once. Where the compiler does not do as wanted, instructions
of RV32 stand beside plain C, which computes the same on any core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..nodes import Array, Call, Flash, Node, Read, Scratch, Write
from .blocks import in_blocks, packed
from .windows import Window

ROWS = 3
"""Output channels of a convolution computed at once: with four pixels, their sums fill 18 registers."""
DENSE = {1: 8, 2: 4, 4: 4}
"""Rows of a dense layer computed at once -> columns: they share the loads of inputs and of weights."""
AHEAD = (3, 4, 5)
"""Neighbours in a row of a depthwise convolution computed at once: most inputs are loaded for all of them."""
LONGEST = 8
"""Products of a run at most, and of a round of a loop: they are written out."""
WRITTEN = 4
"""Products of each sum in a round of the loop of a dense layer."""
LEAST, MOST = -128, 127


@dataclass(frozen=True)
class Runs:
    """A row of weights cut into `count` runs of `run`, filled up with zeros.

    `written`: the runs of a round of the loop. `low` and `high`: the halves of what each run begins with.
    """

    run: int
    count: int
    written: int
    low: int
    high: int

    @property
    def start(self) -> int:
        return (self.low + (self.high << 16)) % 2**32

    @property
    def padded(self) -> int:
        return self.run * self.count


def runs(rows: Array) -> Runs:
    """The longest runs for int8 `rows` [rows, depth]."""
    longest = min(LONGEST, rows.shape[1])
    return next(made for run in range(longest, 0, -1) if (made := _cut(rows, run)) is not None)


def _cut(rows: Array, run: int) -> Runs | None:
    """None when a sum of such a run may not fit 16 bits."""
    weights = _filled(rows, run).reshape(len(rows), -1, run).astype(np.int64)
    least = int(np.minimum(weights * LEAST, weights * MOST).sum(axis=2).min())
    most = int(np.maximum(weights * LEAST, weights * MOST).sum(axis=2).max())
    if most - least >= 2**16:
        return None
    count, written = _rounds(weights.shape[1], max(1, LONGEST // run))
    return Runs(run, count, written, -least, max(-(2**15) - least, min(0, 2**15 - 1 - most)))


def _rounds(count: int, most: int) -> tuple[int, int]:
    """Runs with those that fill them up to whole rounds, and runs of a round: what costs least.

    The loop costs about half of what a run does, for each round.
    """
    choices = [(-(-count // written) * written, written) for written in range(1, most + 1)]
    return min(choices, key=lambda c: (2 * c[0] + c[0] // c[1], c[1]))


def _filled(rows: Array, multiple: int) -> Array:
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % multiple)))


def convolution(
    node: Node, weights: Array, bias: Array, factors: Flash, sizes: dict[str, object], tile: int,
    reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """`weights` int8 [outputs, inputs of a group, height, width]; two pixels at least."""
    shape = sizes["window"]
    assert isinstance(shape, Window)
    rows = weights.reshape(len(weights), -1)
    cut = runs(rows)
    pairs = 2 if tile >= 4 and shape.result[0] * shape.result[1] > 2 else 1
    params = {
        **sizes, "depth": rows.shape[1], "cut": cut, "pairs": pairs, "tile": 2 * pairs, "rows": ROWS,
    }  # fmt: skip
    by_group = _filled(rows, cut.padded).reshape(int(str(sizes["groups"])), -1, cut.count, cut.run)
    arguments = (
        Read(node.inputs[0]), Flash(in_blocks(by_group, ROWS), f"weights_{node.name}"),
        Flash(bias, f"bias_{node.name}"), factors, Scratch(cut.padded * pairs * 4), Write(node.outputs[0]),
    )  # fmt: skip
    return Call("conv_registers_int8.c.j2", params, arguments, reuse)


def depthwise(
    node: Node, weights: Array, bias: Array, factors: Flash, sizes: dict[str, object],
    plane: tuple[int, int], reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """`weights` int8 [outputs, 1, height, width].

    `plane`: rows and columns of an input plane with its padding.
    """
    shape = sizes["window"]
    assert isinstance(shape, Window)
    rows, columns = plane
    params = {**sizes, "rows": rows, "columns": columns, "ahead": _ahead(shape)}
    arguments = (
        Read(node.inputs[0]), Flash(weights, f"weights_{node.name}"), Flash(bias, f"bias_{node.name}"),
        factors, Scratch(rows * columns), Write(node.outputs[0]),
    )  # fmt: skip
    return Call("conv_depthwise_registers_int8.c.j2", params, arguments, reuse)


def _ahead(shape: Window) -> int:
    """With which a row of results loads the fewest inputs."""
    width, kernel, stride = shape.result[1], shape.kernel[1], shape.strides[1]

    def loads(ahead: int) -> int:
        return width // ahead * min(kernel + (ahead - 1) * stride, kernel * ahead) + width % ahead * kernel

    return min(AHEAD, key=loads)


def dense(
    node: Node, weights: Array, bias: Array, factors: Flash, params: dict[str, object], rows: int
) -> Call:
    """`weights` int8 [columns, depth]."""
    columns, depth = weights.shape
    tile = max(t for t in DENSE if rows % t == 0)
    made = {
        **params, "rows": rows, "columns": columns, "depth": depth, "tile": tile, "block": DENSE[tile],
        "written": WRITTEN,
    }  # fmt: skip
    arguments = (
        Read(node.inputs[0]), Flash(packed(weights[None], DENSE[tile]), f"weights_{node.name}"),
        Flash(bias, f"bias_{node.name}"), factors, Write(node.outputs[0]),
    )  # fmt: skip
    return Call("linear_registers_int8.c.j2", made, arguments)
