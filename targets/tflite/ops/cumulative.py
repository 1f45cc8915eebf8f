"""Running sums and products. TFLite has the sums only."""

from __future__ import annotations

import numpy as np

from ..emit import Tensor
from ..layout import Graph
from ..registry import Node, computable, lowers
from .indexing import narrowed, wrapped

NUMBERS = frozenset({"float32", "int32", "int64"})


@lowers("CumSum")
def cumsum(g: Graph, node: Node) -> Tensor:
    value = node.input(0)
    axis = narrowed(g, wrapped(g, node.input(1), value.rank))
    x = g.cast(g.tensor(value), computable(value.dtype, NUMBERS))
    flags = {"exclusive": bool(node.integer("exclusive")), "reverse": bool(node.integer("reverse"))}
    made = g.op("CUMSUM", [x, g.reshape(axis, ())], x.shape, x.dtype, **flags)
    return g.cast(made, value.dtype)


@lowers("CumProd")
def cumprod(g: Graph, node: Node) -> Tensor:
    """Each step multiplies by what stands 1, 2, 4, ... places before: with 1 where nothing does."""
    value = node.input(0)
    axis = int(node.constant(1, "the axis").reshape(())) % value.rank
    back = bool(node.integer("reverse"))
    x = g.cast(g.tensor(value), computable(value.dtype, NUMBERS))
    if node.integer("exclusive"):
        x = _shifted(g, x, axis, 1, back)
    places = 1
    while places < value.shape[axis]:
        x = g.mul(x, _shifted(g, x, axis, places, back))
        places *= 2
    return g.cast(x, value.dtype)


def _shifted(g: Graph, x: Tensor, axis: int, places: int, back: bool) -> Tensor:
    """To the end, or `back` to the front, with 1 where nothing is left."""
    begin = [places if back and i == axis else 0 for i in range(x.rank)]
    size = [d - places if i == axis else d for i, d in enumerate(x.shape)]
    amounts = [((0, places) if back else (places, 0)) if i == axis else (0, 0) for i in range(x.rank)]
    kept = g.slice(x, begin, size)
    return g.op("PADV2", [kept, g.constant(amounts, np.int32), g.constant(1, x.dtype)], x.shape, x.dtype)
