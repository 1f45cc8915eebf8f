"""Indices that are constant: one that lies outside of its axis is refused, not read from another place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .nodes import Graph, Node, Unsupported


def refuse_outside(graph: Graph, node: Node, position: int, sizes: Sequence[int]) -> None:
    """Raises Unsupported for a constant index outside -size..size-1.

    `sizes`: of the axis, or of one axis for each element of the last axis of the indices.
    """
    if node.inputs[position] not in graph.constants:
        return
    indices = graph.constants[node.inputs[position]].astype(np.int64)
    rows = np.asarray(sizes, np.int64)
    outside = (indices < -rows) | (indices >= rows)
    if outside.any():
        worst = int(indices[outside].flat[0])
        axes = " x ".join(map(str, sizes))
        raise Unsupported(f"the index {worst} lies outside of the {axes} elements", "correct the model")
