"""Reductions over axes, and the arguments of extremes."""

from __future__ import annotations

import numpy as np

from ..emit import Perm, Tensor, Unsupported
from ..layout import Graph, Laid
from ..registry import Node, computable, lowers

NUMBERS = frozenset({"float32", "int32", "int64"})
BUILTIN = {
    "ReduceSum": "SUM",
    "ReduceMean": "MEAN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
}
COMPOSED = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")


@lowers(*BUILTIN, *COMPOSED)
def reduce(g: Graph, node: Node) -> Laid:
    value = node.input(0)
    axes = _axes(node)
    keepdims = bool(node.integer("keepdims", 1))
    perm, held = next(iter(value.views.items()))
    if not axes:
        if node.op in COMPOSED:
            raise Unsupported(f"{node.op} over no axes", "give it axes")
        return held, perm
    places = [i for i, axis in enumerate(perm) if axis in axes]
    kept = perm if keepdims else _remaining(perm, axes)
    if value.dtype == np.bool_ and node.op in ("ReduceMax", "ReduceMin"):
        code = "REDUCE_ANY" if node.op == "ReduceMax" else "REDUCE_ALL"
        return g.reduce(code, held, places, keepdims), kept
    native = NUMBERS if node.op != "ReduceMean" and node.op in BUILTIN else frozenset({"float32"})
    if node.op not in BUILTIN and value.dtype.kind != "f":
        raise Unsupported(f"{node.op} of {value.dtype.name}", "cast to float32 before it")
    x = g.cast(held, computable(value.dtype, native))
    return g.cast(_reduced(g, node.op, x, places, keepdims), value.dtype), kept


def _reduced(g: Graph, op: str, x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
    if op in BUILTIN:
        return g.reduce(BUILTIN[op], x, axes, keepdims)
    if op == "ReduceL1":
        return g.reduce("SUM", g.unary("ABS", x), axes, keepdims)
    if op == "ReduceSumSquare":
        return g.reduce("SUM", g.mul(x, x), axes, keepdims)
    if op == "ReduceL2":
        return g.unary("SQRT", g.reduce("SUM", g.mul(x, x), axes, keepdims))
    if op == "ReduceLogSum":
        return g.unary("LOG", g.reduce("SUM", x, axes, keepdims))
    top = g.reduce("REDUCE_MAX", x, axes, True)  # log sum exp, without overflow
    logged = g.unary("LOG", g.reduce("SUM", g.unary("EXP", g.sub(x, top)), axes, keepdims))
    return g.add(logged, g.reshape(top, logged.shape))


def _axes(node: Node) -> list[int]:
    rank = node.input(0).rank
    given = node.integers("axes")
    if given is None and node.optional(1) is not None:
        given = [int(a) for a in node.constant(1, "the axes to reduce")]
    if not given:
        return [] if node.integer("noop_with_empty_axes") else list(range(rank))
    return sorted({a % rank for a in given}) if rank else []


def _remaining(perm: Perm, axes: list[int]) -> Perm:
    """The order of what is left when `axes` are gone."""
    left = [p for p in perm if p not in axes]
    ranked = sorted(left)
    return tuple(ranked.index(p) for p in left)


@lowers("ArgMax", "ArgMin")
def arg(g: Graph, node: Node) -> Tensor:
    """The first of equal elements, as TFLite does it; the last is found on the reversed axis."""
    value = node.input(0)
    axis = node.axis(0)
    code = "ARG_MAX" if node.op == "ArgMax" else "ARG_MIN"
    x = g.cast(g.tensor(value), computable(value.dtype, frozenset({"float32", "int32", "int8", "uint8"})))
    last = bool(node.integer("select_last_index"))
    at = g.constant([axis], np.int32)
    if last:
        x = g.op("REVERSE_V2", [x, at], x.shape, x.dtype)
    kept = tuple(d for i, d in enumerate(value.shape) if i != axis)
    made = g.op(code, [x, at], kept, np.int64, outputType=4)  # TensorType.INT64
    if last:
        made = g.sub(g.constant(value.shape[axis] - 1, np.int64), made)
    return g.reshape(made, node.outputs[0].shape)
