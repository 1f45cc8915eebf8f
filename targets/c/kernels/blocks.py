"""Weights in the order in which kernels read them: some rows at a time, side by side."""

from __future__ import annotations

import numpy as np

from ..nodes import Array


def packed(rows: Array, block: int) -> Array:
    """[groups, rows, depth] -> for each `block` of rows [depth, block], so that one step reads neighbours."""
    return in_blocks(rows[..., None], block)


def in_blocks(rows: Array, block: int) -> Array:
    """[groups, rows, runs, run] -> for each `block` of rows [runs, rows, run], in a row."""
    parts = [
        np.ascontiguousarray(group[first : first + block].transpose(1, 0, 2)).ravel()
        for group in rows
        for first in range(0, len(group), block)
    ]
    return np.concatenate(parts)
