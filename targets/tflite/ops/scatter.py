"""Scatters: SCATTER_ND makes a new tensor and adds up what falls on one place.

So an update is (where something fell: what fell, elsewhere: the data), and a reduction by addition is a sum.
Its kernel takes int32 indices only.

A product, minimum or maximum is one over segments: each place of the data is a segment that holds what was
there, then what fell on it. The kernels of the last two know no infinities and take integers, so float32 is
compared by its bits, in the order of the numbers.
"""

from __future__ import annotations

import math

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph, Value
from ..registry import Node, computable, lowers
from .indexing import coordinates, narrowed, wrapped

NUMBERS = frozenset({"float32", "int32", "int64"})
SEGMENTS = {"mul": "UNSORTED_SEGMENT_PROD", "min": "UNSORTED_SEGMENT_MIN", "max": "UNSORTED_SEGMENT_MAX"}


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
    if how in SEGMENTS:
        return _by_segments(g, SEGMENTS[how], data, at, updates)
    if how not in ("none", "add"):
        raise Unsupported(f"a scatter with the reduction {how}", f"use none, add, {', '.join(SEGMENTS)}")
    dtype = computable(data.dtype, NUMBERS)
    x, u = (g.cast(g.tensor(v), dtype) for v in (data, updates))
    shape = g.constant(data.shape, np.int32)
    fell = g.op("SCATTER_ND", [at, u, shape], data.shape, dtype)
    if how == "add":
        return g.cast(g.add(x, fell), data.dtype)
    ones = g.constant(np.ones(updates.shape), np.int32)
    hit = g.op("SCATTER_ND", [at, ones, shape], data.shape, np.int32)
    return g.cast(g.select(g.compare("NOT_EQUAL", hit, 0), fell, x), data.dtype)


def _by_segments(g: Graph, code: str, data: Value, at: Tensor, updates: Value) -> Tensor:
    """`at`: [..., k] of coordinates of the data's first k axes. One that lies outside fails when it runs."""
    compared = code != "UNSORTED_SEGMENT_PROD"
    dtype = computable(data.dtype, frozenset({"float32", "int32"}))
    axes = at.shape[-1]
    rows, rest = math.prod(data.shape[:axes]), data.shape[axes:]
    fell = math.prod(at.shape[:-1])
    x, u = (g.cast(g.tensor(v), dtype) for v in (data, updates))
    parts = [g.reshape(x, (rows, *rest)), g.reshape(u, (fell, *rest))]
    if compared and dtype == np.float32:
        parts = [_in_order(g, g.op("BITCAST", [p], p.shape, np.int32)) for p in parts]
    places = g.concat([g.constant(np.arange(rows), np.int32), g.reshape(_row(g, at, data), (fell,))], 0)
    joined = g.concat(parts, 0)
    made = g.op(code, [joined, places, g.constant(rows, np.int32)], (rows, *rest), joined.dtype)
    if compared and dtype == np.float32:
        made = g.op("BITCAST", [_in_order(g, made)], made.shape, dtype)
    return g.cast(g.reshape(made, data.shape), data.dtype)


def _row(g: Graph, at: Tensor, data: Value) -> Tensor:
    """[..., k] -> [..., 1]: a place in a row. Tables hold the products, and refuse what is outside."""
    total: Tensor | None = None
    for axis in range(at.shape[-1]):
        one = g.slice(at, [0] * (at.rank - 1) + [axis], [*at.shape[:-1], 1])
        step = math.prod(data.shape[axis + 1 : at.shape[-1]])
        table = g.constant(np.arange(data.shape[axis]) * step, np.int32)
        part = g.op("GATHER", [table, one], one.shape, np.int32, axis=0)
        total = part if total is None else g.add(total, part)
    assert total is not None
    return total


def _in_order(g: Graph, bits: Tensor) -> Tensor:
    """The bits of float32 as integers in the order of the numbers, and back: negative ones turn around."""
    turned = g.binary("BITWISE_XOR", bits, g.constant(np.iinfo(np.int32).max, np.int32))
    return g.select(g.compare("LESS", bits, 0), turned, bits)
