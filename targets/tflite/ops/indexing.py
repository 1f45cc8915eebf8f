"""Gathers, scatters, and what is built from indices.

ONNX lets indices count from the end; TFLite does not, so run-time indices are moved first. Not so for an
embedding (a constant table): a token outside it, negative ones included, is an error when it runs.

An index that ONNX holds in int64 is never cut to its low 32 bits, which would read another place in silence:
kernels that take int64 get it, and for the others it is `narrowed`; for ONE_HOT as well, which takes it, and
cuts it itself. What lies outside fails when it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph, Value
from ..registry import Node, computable, lowers

MIN_EMBEDDING = 8
"""Columns. A narrower table (a mask by word, say) stays float32: its scales would be larger than itself."""
MOVABLE = frozenset({"float32", "int32", "int64", "int16", "int8", "uint8", "bool"})


def narrowed(g: Graph, x: Tensor) -> Tensor:
    """int64 as int32; what that does not hold becomes the nearest that it does, and no axis is as long."""
    limit = np.iinfo(np.int32).max
    if x.data is not None:
        return g.constant(np.clip(x.data, -limit, limit), np.int32, hint=x.name)
    return g.cast(g.minimum(g.maximum(x, -limit), limit) if x.dtype == np.int64 else x, np.int32)


def wrapped(g: Graph, indices: Value, sizes: int | Sequence[int]) -> Tensor:
    """Indices counted from the front: int32 where they are constant, else in their own dtype.

    `sizes`: of the axis, or of one axis for each element of the last axis of the indices.
    """
    if indices.const is not None:
        refuse_outside(indices, np.atleast_1d(sizes).tolist())
        return g.constant(np.where(indices.const < 0, indices.const + sizes, indices.const), np.int32)
    x = g.tensor(indices)
    return from_front(g, x, g.constant(sizes, x.dtype))


def refuse_outside(indices: Value, sizes: Sequence[int]) -> None:
    """Raises Unsupported for a constant index that lies outside.

    `sizes`: of the axis, or of one axis for each element of the last axis of the indices.
    """
    if indices.const is None:
        return
    rows = np.asarray(sizes, np.int64)
    outside = (indices.const < -rows) | (indices.const >= rows)
    if outside.any():
        worst, axes = int(indices.const[outside].flat[0]), " x ".join(map(str, sizes))
        raise Unsupported(f"the index {worst} lies outside of the {axes} elements", "correct the model")


def from_front(g: Graph, places: Tensor, sizes: Tensor) -> Tensor:
    """What is negative counts from the end; what is out of range stays so, and fails when it runs."""
    return g.select(g.compare("LESS", places, 0), g.add(places, sizes), places)


@lowers("Gather")
def gather(g: Graph, node: Node) -> Tensor:
    table, indices = node.input(0), node.input(1)
    axis = node.axis(0)
    shape = node.outputs[0].shape
    words = table.const is not None and table.dtype == np.float32 and axis == 0 and table.rank == 2
    if words and table.shape[1] >= MIN_EMBEDDING:
        return _embedding(g, table, indices, shape)
    x = g.tensor(table)
    computed = g.cast(x, computable(table.dtype, MOVABLE))
    places = wrapped(g, indices, table.shape[axis])
    return g.cast(g.op("GATHER", [computed, places], shape, computed.dtype, axis=axis), table.dtype)


def _embedding(g: Graph, table: Value, indices: Value, shape: tuple[int, ...]) -> Tensor:
    """EMBEDDING_LOOKUP takes one axis of indices; quantizers know it, and not GATHER."""
    flat = narrowed(g, g.reshape(g.tensor(indices), (math.prod(indices.shape),)))
    rows = (flat.shape[0], table.shape[1])
    return g.reshape(g.op("EMBEDDING_LOOKUP", [flat, g.tensor(table)], rows, np.float32), shape)


@lowers("GatherElements")
def gather_elements(g: Graph, node: Node) -> Tensor:
    """GATHER_ND with the coordinates of every element written out but for one axis."""
    data, indices = node.input(0), node.input(1)
    axis = node.axis(0)
    x = g.cast(g.tensor(data), computable(data.dtype, MOVABLE))
    at = wrapped(g, indices, data.shape[axis])
    made = g.op("GATHER_ND", [x, coordinates(g, at, axis)], indices.shape, x.dtype)
    return g.cast(made, data.dtype)


def coordinates(g: Graph, at: Tensor, axis: int) -> Tensor:
    """[...] of indices along `axis` -> [..., rank] of full coordinates."""
    grids = np.meshgrid(*map(np.arange, at.shape), indexing="ij")
    parts = [
        g.reshape(at, (*at.shape, 1)) if i == axis else g.constant(grid[..., None], at.dtype)
        for i, grid in enumerate(grids)
    ]
    return g.concat(parts, len(at.shape))


@lowers("GatherND")
def gather_nd(g: Graph, node: Node) -> Tensor:
    """The batch axes come before the indices, as coordinates."""
    data, indices = node.input(0), node.input(1)
    batch = node.integer("batch_dims")
    x = g.cast(g.tensor(data), computable(data.dtype, MOVABLE))
    at = wrapped(g, indices, data.shape[batch : batch + indices.shape[-1]])
    grids = np.meshgrid(*map(np.arange, at.shape[:-1]), indexing="ij")[:batch]
    at = g.concat([*(g.constant(grid[..., None], at.dtype) for grid in grids), at], at.rank - 1)
    return g.cast(g.op("GATHER_ND", [x, at], node.outputs[0].shape, x.dtype), data.dtype)


@lowers("NonZero")
def non_zero(g: Graph, node: Node) -> Tensor:
    """WHERE gives a row for each place, ONNX a column; other numbers of places than were told fail later."""
    value = node.input(0)
    x = g.cast(g.tensor(value), computable(value.dtype, MOVABLE))
    there = x if x.dtype == np.bool_ else g.compare("NOT_EQUAL", x, 0)
    axes, count = node.outputs[0].shape
    if not axes:
        raise Unsupported("the places of a scalar", "give it an axis")
    return g.transpose(g.op("WHERE", [there], (count, axes), np.int64), (1, 0))


@lowers("OneHot")
def one_hot(g: Graph, node: Node) -> Tensor:
    """An index outside of -depth..depth-1 is off everywhere."""
    indices, values = node.input(0), node.input(2)
    out = node.outputs[0]
    depth = out.shape[node.integer("axis", -1) % out.rank]
    native = frozenset({"float32", "int32", "int64", "int8", "uint8", "bool"})
    pair = g.cast(g.tensor(values), computable(values.dtype, native))
    off = g.reshape(g.slice(pair, [0], [1]), ())
    on = g.reshape(g.slice(pair, [1], [1]), ())
    axis = node.integer("axis", -1) % out.rank
    at = narrowed(g, from_front(g, g.cast(g.tensor(indices), np.int64), g.constant(depth, np.int64)))
    made = g.op("ONE_HOT", [at, g.constant(depth, np.int32), on, off], out.shape, pair.dtype, axis=axis)
    return g.cast(made, out.dtype)


@lowers("TopK")
def top_k(g: Graph, node: Node) -> list[Tensor]:
    """TOPK_V2 takes the largest along the last axis; the smallest are the largest of the negated."""
    value = node.input(0)
    axis = node.axis(-1)
    out = node.outputs[0].shape
    smallest = not node.integer("largest", 1)
    last = (*(i for i in range(value.rank) if i != axis), axis)
    back = tuple(last.index(i) for i in range(value.rank))
    x = g.cast(g.view(value, last), computable(value.dtype, frozenset({"float32", "int32", "int64"})))
    x = g.unary("NEG", x) if smallest else x
    shape = tuple(out[p] for p in last)
    values, places = g.ops(
        "TOPK_V2", [x, g.constant(out[axis], np.int32)], [(shape, x.dtype), (shape, np.int32)]
    )
    values = g.unary("NEG", values) if smallest else values
    return [
        g.transpose(g.cast(values, value.dtype), back),
        g.transpose(g.cast(places, np.int64), back),
    ]


@lowers("ReverseSequence")
def reverse_sequence(g: Graph, node: Node) -> Tensor:
    """A length beyond the axis turns all of it: LiteRT's kernel would read behind it."""
    value, lengths = node.input(0), node.input(1)
    axes = {"seqDim": node.integer("time_axis", 0), "batchDim": node.integer("batch_axis", 1)}
    x = g.cast(g.tensor(value), computable(value.dtype, frozenset({"float32", "int32", "int64"})))
    turned = g.minimum(g.tensor(lengths), value.shape[axes["seqDim"]])
    made = g.op("REVERSE_SEQUENCE", [x, turned], x.shape, x.dtype, **axes)
    return g.cast(made, value.dtype)
