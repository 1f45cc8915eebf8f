"""Scatters: SCATTER_ND makes a new tensor and adds up what falls on one place.

So an update is (where something fell: what fell, elsewhere: the data), and a reduction by addition is a sum.
Its kernel takes int32 indices only.
"""

from __future__ import annotations

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph, Value
from ..registry import Node, computable, lowers
from .indexing import coordinates, narrowed, wrapped

NUMBERS = frozenset({"float32", "int32", "int64"})


@lowers("ScatterElements", "Scatter")
def scatter_elements(g: Graph, node: Node) -> Tensor:
    data, indices, updates = (node.input(i) for i in range(3))
    axis = node.axis(0)
    at = coordinates(g, narrowed(g, wrapped(g, indices, data.shape[axis])), axis)
    return _scattered(g, node, data, at, updates)


@lowers("ScatterND")
def scatter_nd(g: Graph, node: Node) -> Tensor:
    data, indices, updates = (node.input(i) for i in range(3))
    at = narrowed(g, wrapped(g, indices, data.shape[: indices.shape[-1]]))
    return _scattered(g, node, data, at, updates)


def _scattered(g: Graph, node: Node, data: Value, at: Tensor, updates: Value) -> Tensor:
    how = node.text("reduction", "none")
    if how not in ("none", "add"):
        raise Unsupported(f"a scatter with the reduction {how}", "use none or add")
    dtype = computable(data.dtype, NUMBERS)
    x, u = (g.cast(g.tensor(v), dtype) for v in (data, updates))
    shape = g.constant(data.shape, np.int32)
    fell = g.op("SCATTER_ND", [at, u, shape], data.shape, dtype)
    if how == "add":
        return g.cast(g.add(x, fell), data.dtype)
    ones = g.constant(np.ones(updates.shape), np.int32)
    hit = g.op("SCATTER_ND", [at, ones, shape], data.shape, np.int32)
    return g.cast(g.select(g.compare("NOT_EQUAL", hit, 0), fell, x), data.dtype)
