"""Matrix products. With constant weights they are FULLY_CONNECTED, the one form that quantizers know."""

from __future__ import annotations

import math

import numpy as np

from ..emit import Array, Perm, Tensor, Unsupported
from ..layout import Graph, Value
from ..registry import Node, computable, lowers


@lowers("MatMul")
def matmul(g: Graph, node: Node) -> Tensor:
    a, b = node.input(0), node.input(1)
    dtype = computable(a.dtype, frozenset({"float32"})) if a.dtype.kind == "f" else None
    if dtype is None:
        raise Unsupported(f"a matrix product of {a.dtype.name}", "cast to float32 before it")
    x = g.cast(g.tensor(a), dtype)
    if a.rank == 1:
        x = g.reshape(x, (1, *a.shape))
    if b.const is not None and b.rank >= 1 and math.prod(b.shape[:-2]) == 1 and b.rank <= max(a.rank, 2):
        w = b.const.reshape(b.shape[-2:] if b.rank > 1 else (*b.shape, 1)).T.astype(dtype, copy=False)
        made = _dense(g, x, w, b.name, None)
    elif a.const is not None and a.rank >= 2 and b.rank >= 2:
        made = _constant_first(g, a, b, dtype)
    else:
        y = g.cast(g.tensor(b), dtype)
        made = g.matmul(x, g.reshape(y, (*b.shape, 1)) if b.rank == 1 else y)
    return g.cast(g.reshape(made, node.outputs[0].shape), a.dtype)


def _constant_first(g: Graph, a: Value, b: Value, dtype: np.dtype[np.generic]) -> Tensor:
    """A B as (B' A')': kernels and quantizers want what is constant on the right."""
    turned = (*range(b.rank - 2), b.rank - 1, b.rank - 2)
    y = g.cast(g.view(b, turned), dtype)
    assert a.const is not None
    if math.prod(a.shape[:-2]) == 1 and a.rank <= b.rank:
        w = a.const.reshape(a.shape[-2:]).astype(dtype, copy=False)
        made = g.fully_connected(y, g.constant(w, hint=a.name), None)
    else:
        made = g.matmul(y, g.constant(np.swapaxes(a.const, -1, -2).astype(dtype, copy=False), hint=a.name))
    rank = made.rank
    return g.transpose(made, (*range(rank - 2), rank - 1, rank - 2))


@lowers("Gemm")
def gemm(g: Graph, node: Node) -> Tensor:
    """alpha A' B' + beta C."""
    a, b, c = node.input(0), node.input(1), node.optional(2)
    if a.dtype.kind != "f":
        raise Unsupported(f"Gemm of {a.dtype.name}", "cast to float32 before it")
    dtype = computable(a.dtype, frozenset({"float32"}))
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    trans_a, trans_b = bool(node.integer("transA")), bool(node.integer("transB"))
    x = g.cast(g.view(a, (1, 0)) if trans_a else g.tensor(a), dtype)
    bias = _bias(g, c, beta, node.outputs[0].shape[1])
    if b.const is not None:
        w = (b.const if trans_b else b.const.T).astype(dtype, copy=False)
        w = w if alpha == 1.0 else (w * np.float32(alpha)).astype(dtype)
        made = _dense(g, x, w, b.name, bias)
    else:
        made = g.matmul(x, g.cast(g.tensor(b), dtype), adj_y=trans_b)
        made = made if alpha == 1.0 else g.mul(made, alpha)
        made = made if bias is None else g.add(made, bias)
    if c is not None and bias is None and beta != 0.0:
        addend = g.cast(g.tensor(c), dtype)
        made = g.add(made, addend if beta == 1.0 else g.mul(addend, beta))
    return g.cast(made, a.dtype)


def _bias(g: Graph, c: Value | None, beta: float, columns: int) -> Tensor | None:
    """C as a vector over the columns, when it is a constant that is one."""
    if c is None or c.const is None or c.const.size not in (1, columns):
        return None
    if c.const.size != 1 and c.shape[-1] != columns:
        return None
    vector = np.broadcast_to(c.const.reshape(-1), (columns,)).astype(np.float32)
    return g.constant(vector if beta == 1.0 else vector * np.float32(beta), hint=c.name)


def _dense(g: Graph, x: Tensor, w: Array, name: str, bias: Tensor | None) -> Tensor:
    """x [..., k] times w [n, k]. Behind a flattened image w changes from NCHW to NHWC, once, instead of x."""
    flat = _before_flatten(x)
    if flat is not None:
        image, perm = flat
        shape = tuple(image.shape[p] for p in perm)
        back = tuple(perm.index(i) for i in range(len(perm)))
        w = w.reshape(-1, *shape[1:]).transpose(back).reshape(w.shape)
        x = g.reshape(image, x.shape)
    return g.fully_connected(x, g.constant(w, hint=name), bias)


def _before_flatten(x: Tensor) -> tuple[Tensor, Perm] | None:
    """What is transposed behind its first axis, then flattened to `x` [first, rest]; and the order."""
    flatten = x.producer
    if x.rank != 2 or flatten is None or flatten.code != "RESHAPE" or flatten.inputs[0] is None:
        return None
    transpose = flatten.inputs[0].producer
    if transpose is None or transpose.code != "TRANSPOSE":
        return None
    image, order = transpose.inputs[0], transpose.inputs[1]
    if image is None or order is None or order.data is None or image.shape[0] != x.shape[0]:
        return None
    perm = tuple(int(p) for p in order.data)
    return (image, perm) if perm[0] == 0 else None
