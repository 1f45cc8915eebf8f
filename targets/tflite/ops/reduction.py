"""Reductions over axes, and the arguments of extremes."""

from __future__ import annotations

import numpy as np

from ..emit import Perm, Tensor, Unsupported
from ..layout import Graph, Laid, identity
from ..registry import Node, computable, lowers
from .indexing import narrowed

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
    given = node.optional(1)
    if 0 in value.shape:
        return _of_nothing(g, node)
    if given is not None and given.const is None and given.shape != (0,):
        return _at_run_time(g, node)
    axes = _axes(node)
    keepdims = bool(node.integer("keepdims", 1))
    perm, held = g.held(value)
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


def _of_nothing(g: Graph, node: Node) -> Laid:
    """What a reduction over no elements is: constant."""
    out = node.outputs[0]
    neutral = {"ReduceProd": 1.0, "ReduceMax": -np.inf, "ReduceMin": np.inf, "ReduceMean": np.nan}
    neutral |= {"ReduceLogSum": -np.inf, "ReduceLogSumExp": -np.inf}
    value = neutral.get(node.op, 0.0)
    if 0 in out.shape or (out.dtype.kind != "f" and not np.isfinite(value)):
        raise Unsupported("a tensor without elements", "remove it")
    return g.constant(np.full(out.shape, value, out.dtype)), identity(out.rank)


def _at_run_time(g: Graph, node: Node) -> Laid:
    """The axes are an input of the kernels, too; only the shapes of the results must be known here."""
    value, out = node.input(0), node.outputs[0]
    keepdims = bool(node.integer("keepdims", 1))
    axes = narrowed(g, g.tensor(node.input(1)))
    op = node.op
    if op == "ReduceLogSumExp" or (value.dtype == np.bool_ and op not in ("ReduceMax", "ReduceMin")):
        raise Unsupported(f"{op} whose axes are computed while the model runs", "make the axes constant")
    native = NUMBERS if op in BUILTIN and op != "ReduceMean" else frozenset({"float32"})
    code = BUILTIN.get(op, "SUM")
    if value.dtype == np.bool_:
        x, code = g.tensor(value), "REDUCE_ANY" if op == "ReduceMax" else "REDUCE_ALL"
    else:
        x = g.cast(g.tensor(value), computable(value.dtype, native))
    if op == "ReduceL1":
        x = g.unary("ABS", x)
    elif op in ("ReduceL2", "ReduceSumSquare"):
        x = g.mul(x, x)
    made = g.op(code, [x, axes], out.shape, x.dtype, keepDims=keepdims)
    after = {"ReduceL2": "SQRT", "ReduceLogSum": "LOG"}.get(op)
    made = made if after is None else g.unary(after, made)
    return g.cast(made, value.dtype), identity(out.rank)


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
    second = node.optional(1)
    if not given and second is not None and second.shape != (0,):
        given = tuple(int(a) for a in node.constant(1, "the axes to reduce"))
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
