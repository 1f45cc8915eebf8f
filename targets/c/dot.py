"""Dot products of int8 weights and 16-bit inputs: how weights are packed, and how the loop is cut.

The kernel is `templates/dot.j2`: for a block of 2 or 4 rows of weights, and for 1 to 3 columns of inputs, it
takes two neighbours of depth at a time. A word of weights holds them for two rows, so that SXTB16 yields
those of the first row, and rotated by a byte those of the second; SMLAD multiplies both by a word of inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .nodes import Array

LONGEST = 8
"""Pairs written out in a row at most; the loop around them costs less than a twentieth then."""
FARTHEST = 4095
"""Bytes that a load reaches from its base."""


@dataclass(frozen=True)
class Depth:
    """`depth` cut into `pairs`, of which `run` are written out in each round of the loop.

    There may be up to three pairs more than needed, filled up with zeros, so that no remainder is left.
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


def cut(depth: int) -> Depth:
    """Whole rounds of 4 to 8 pairs, or one of fewer."""
    pairs = -(-depth // 2)
    if pairs <= LONGEST:
        return Depth(depth, pairs, max(pairs, 1))
    rounds = ((pairs + extra, run) for extra in range(4) for run in range(LONGEST, 3, -1))
    whole, run = next((p, r) for p, r in rounds if p % r == 0)
    return Depth(depth, whole, run)


def packed_pairs(rows: Array, block: int) -> Array:
    """[groups, rows, depth] int8 -> uint32 [groups, blocks, pairs, block / 2] as one row.

    The bytes of a word: row 0 and row 1 at depth 0, row 0 and row 1 at depth 1. Rows are filled up with zeros
    to whole blocks.
    """
    groups, count, depth = rows.shape
    filled = np.zeros((groups, -(-count // block) * block, cut(depth).stride), np.int8)
    filled[:, :count, :depth] = rows
    parted = filled.reshape(groups, -1, block // 2, 2, filled.shape[2] // 2, 2)
    ordered = np.ascontiguousarray(parted.transpose(0, 1, 4, 2, 5, 3))
    return ordered.ravel().view("<u4").astype(np.uint32)
