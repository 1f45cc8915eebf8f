"""RoiAlign: regions of an image, averaged or maximised into cells of equal number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph, Laid, channels_last
from ..registry import Node, computable, lowers
from .indexing import narrowed


@dataclass(frozen=True)
class Samples:
    """Along one axis, each [regions, samples]: the pixel before and behind, and how much each counts."""

    before: Tensor
    behind: Tensor
    near: Tensor
    far: Tensor


@lowers("RoiAlign")
def roi_align(g: Graph, node: Node) -> Laid:
    """Each sample is a weighted sum (or maximum) of four pixels, and each cell a pool of its samples."""
    value, regions = node.input(0), g.cast(g.tensor(node.input(1)), np.float32)
    ratio = node.integer("sampling_ratio")
    if ratio <= 0:
        raise Unsupported("as many samples as a region has pixels", "export it with a sampling_ratio")
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    half = node.text("coordinate_transformation_mode", default) == "half_pixel"
    x = g.cast(g.view(value, channels_last(4)), computable(value.dtype, frozenset({"float32"})))
    scale, cells = node.real("spatial_scale", 1.0), node.outputs[0].shape[2:]
    down, across = (
        _samples(g, _edges(g, regions, 1 - axis, scale, half), cells[axis], ratio, x.shape[1 + axis], half)
        for axis in (0, 1)
    )
    of = narrowed(g, g.tensor(node.input(2)))
    corners = [
        g.mul(_pixels(g, x, of, row, column), g.mul(_upright(g, v), _level(g, u)))
        for row, v in ((down.before, down.near), (down.behind, down.far))
        for column, u in ((across.before, across.near), (across.behind, across.far))
    ]
    largest = node.text("mode", "avg") == "max"
    made = reduce(g.maximum if largest else g.add, corners)
    code = "MAX_POOL_2D" if largest else "AVERAGE_POOL_2D"
    window = {f"{kind}{side}": ratio for kind, sides in WINDOW.items() for side in sides}
    made = g.op(code, [made], (made.shape[0], *cells, made.shape[3]), made.dtype, padding="VALID", **window)
    return g.cast(made, value.dtype), channels_last(4)


WINDOW = {"filter": ("Height", "Width"), "stride": ("H", "W")}


def _edges(g: Graph, regions: Tensor, column: int, scale: float, half: bool) -> tuple[Tensor, Tensor]:
    """Where the regions begin and end, [regions, 1]; column 0 is x, 1 is y."""
    places = [column, column + 2]
    ends = [g.mul(g.slice(regions, [0, c], [regions.shape[0], 1]), scale) for c in places]
    first, last = (g.sub(e, 0.5) if half else e for e in ends)
    return first, last


def _samples(
    g: Graph, edges: tuple[Tensor, Tensor], cells: int, ratio: int, size: int, half: bool
) -> Samples:
    first, last = edges
    length = g.sub(last, first)
    if not half:
        length = g.maximum(length, 1.0)
    cell = g.div(length, float(cells))
    number = np.repeat(np.arange(cells, dtype=np.float32), ratio)[None]
    within = np.tile(np.arange(ratio, dtype=np.float32) + 0.5, cells)[None]
    start = g.add(first, g.mul(cell, g.constant(number)))
    place = g.add(start, g.div(g.mul(cell, g.constant(within)), float(ratio)))
    there = g.binary(
        "LOGICAL_AND", g.compare("GREATER_EQUAL", place, -1.0), g.compare("LESS_EQUAL", place, float(size))
    )
    place = g.minimum(g.maximum(place, 0.0), size - 1.0)
    before = g.unary("FLOOR", place)
    far = g.sub(place, before)
    counts = g.cast(there, np.float32)
    near = g.mul(g.sub(g.constant(1.0, np.float32), far), counts)
    behind = g.minimum(g.add(before, 1.0), size - 1.0)
    return Samples(g.cast(before, np.int32), g.cast(behind, np.int32), near, g.mul(far, counts))


def _pixels(g: Graph, x: Tensor, of: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """[regions, rows, columns, channels]. An image that there is none of fails when it runs."""
    shape = (row.shape[0], row.shape[1], column.shape[1], 1)
    parts = [g.reshape(of, (shape[0], 1, 1, 1)), _upright(g, row), _level(g, column)]
    at = g.concat([g.broadcast(p, shape) for p in parts], 3)
    return g.op("GATHER_ND", [x, at], (*shape[:3], x.shape[3]), x.dtype)


def _upright(g: Graph, x: Tensor) -> Tensor:
    return g.reshape(x, (*x.shape, 1, 1))


def _level(g: Graph, x: Tensor) -> Tensor:
    return g.reshape(x, (x.shape[0], 1, x.shape[1], 1))
