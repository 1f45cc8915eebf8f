"""Dot products of int8 weights and 16-bit inputs: how weights are packed, and how the loop is cut.

The kernel is `templates/dot.j2`: for a block of 2 or 4 rows of weights, and for 1 to 3 columns of inputs, it
takes two neighbours of depth at a time. A word of weights holds them for two rows, so that SXTB16 yields
those of the first row, and rotated by a byte those of the second; SMLAD multiplies both by a word of inputs.

As halves, what is to be scaled by `exact` (`templates/block.j2`): each half of a word is 256 * second +
first. SXTB16 yields the first row, and SMLAD of the word itself a sum of both, from which the first row's
is subtracted at the end: what remains is 256 times the sum of the second row, without an instruction to
extract it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..nodes import Array
from .exact import Exact

LONGEST = 8
"""Pairs written out in a row at most; the loop around them costs a sixteenth then."""
FARTHEST = 4095
"""Bytes that a load reaches from its base."""


@dataclass(frozen=True)
class Depth:
    """`depth` cut into `pairs`, of which `run` are written out in each round of the loop.

    There may be a few pairs more than needed, filled up with zeros, so that no remainder is left.
    """

    depth: int
    pairs: int
    run: int

    @property
    def stride(self) -> int:
        """Elements of a column of inputs."""
        return 2 * self.pairs

    def reaches(self, columns: int) -> bool:
        """Whether one base serves so many columns, one after another."""
        return 2 * (columns - 1) * self.stride + 4 * self.run <= FARTHEST


def cut(depth: int, longest: int = LONGEST) -> Depth:
    """Whole rounds of half of `longest` to `longest` pairs, or one of fewer."""
    pairs = -(-depth // 2)
    if pairs <= longest:
        return Depth(depth, pairs, max(pairs, 1))
    rounds = (
        (pairs + extra, run) for extra in range(longest // 2) for run in range(longest, longest // 2 - 1, -1)
    )
    whole, run = next((p, r) for p, r in rounds if p % r == 0)
    return Depth(depth, whole, run)


def by_couples(weights: Array) -> Array:
    """[outputs, channels, height, width] with channels by twos: the same place of both makes a pair.

    As they are if the number of channels is odd.
    """
    outputs, channels = weights.shape[:2]
    if channels % 2:
        return weights
    places = weights.reshape(outputs, channels // 2, 2, -1)
    made: Array = np.ascontiguousarray(places.transpose(0, 1, 3, 2)).reshape(weights.shape)
    return made


def packed_pairs(rows: Array, block: int, cut: Depth) -> Array:
    """[groups, rows, depth] int8 -> uint32 [groups, blocks, pairs, block / 2] as one row.

    The bytes of a word: row 0 and row 1 at depth 0, row 0 and row 1 at depth 1. Rows are filled up with zeros
    to whole blocks.
    """
    groups, count, depth = rows.shape
    filled = np.zeros((groups, -(-count // block) * block, cut.stride), np.int8)
    filled[:, :count, :depth] = rows
    parted = filled.reshape(groups, -1, block // 2, 2, filled.shape[2] // 2, 2)
    ordered = np.ascontiguousarray(parted.transpose(0, 1, 4, 2, 5, 3))
    return ordered.ravel().view("<u4").astype(np.uint32)


def packed_blocks(rows: Array, block: int, cut: Depth, layer: Exact) -> Array | None:
    """Biases, weights and factors of each block of `rows` [groups, rows, depth], as uint32; rows that fill up
    are zeros. None where two weights do not fit a half: -128, and below it a negative one.

    The weights as in `packed_pairs`, but each half is 256 * second row + first row. The bias of a second row
    has a 256th of the first's in it, which comes off with the sum of that.
    """
    groups, count, _ = rows.shape
    blocks = -(-count // block)
    paired = packed_pairs(rows, block, cut).view(np.int8).reshape(-1, 2).astype(np.int32)
    halves = 256 * paired[:, 1] + paired[:, 0]
    if halves.min(initial=0) < np.iinfo(np.int16).min:
        return None
    words = (
        np.ascontiguousarray(halves.astype("<i2")).view("<u4").astype(np.int64).reshape(groups * blocks, -1)
    )
    ends = np.zeros((2, groups, blocks * block), np.int64)
    ends[:, :, :count] = layer.biases.reshape(groups, -1), layer.factors.reshape(groups, -1)
    biases, factors = ends.reshape(2, groups * blocks, block)
    biases[:, 1::2] += biases[:, ::2] >> 8
    made: Array = np.concatenate([biases, words, factors], axis=1) & 0xFFFFFFFF
    return made.astype(np.uint32).ravel()


def around(words: Array, layer: Exact) -> Array:
    """The weights of each channel, uint32 in a row, between its bias and its factor."""
    channels = len(layer.biases)
    ends = (np.asarray(part, np.int64).reshape(channels, 1) for part in (layer.biases, layer.factors))
    bias, factor = ends
    made: Array = np.concatenate([bias, words.reshape(channels, -1), factor], axis=1) & 0xFFFFFFFF
    return made.astype(np.uint32).ravel()
