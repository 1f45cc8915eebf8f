"""Softmax and its relatives along one axis."""

from __future__ import annotations

import math

import numpy as np

from ..emit import Perm, Tensor
from ..layout import Graph, Laid, Value, identity
from ..registry import Node, computable, lowers


def with_last(g: Graph, value: Value, axis: int) -> tuple[Tensor, Perm]:
    """The value in an order that has `axis` last: one that is there, or else the nearest to ONNX's own."""
    for perm, tensor in value.views.items():
        if perm[-1:] == (axis,):
            return tensor, perm
    perm = (*(i for i in identity(value.rank) if i != axis), axis)
    return g.view(value, perm), perm


@lowers("Softmax", "LogSoftmax")
def softmax(g: Graph, node: Node) -> Laid:
    value = node.input(0)
    if node.opset < 13:  # all axes from `axis` on are one
        axis = node.axis(1)
        flat = g.reshape(g.tensor(value), (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))
        made = _softmax(g, node.op, g.cast(flat, computable(value.dtype, frozenset({"float32"}))))
        return g.cast(g.reshape(made, value.shape), value.dtype), identity(value.rank)
    x, perm = with_last(g, value, node.axis(-1))
    made = _softmax(g, node.op, g.cast(x, computable(value.dtype, frozenset({"float32"}))))
    return g.cast(made, value.dtype), perm


def _softmax(g: Graph, op: str, x: Tensor) -> Tensor:
    if op == "LogSoftmax":
        return g.unary("LOG_SOFTMAX", x)
    return g.unary("SOFTMAX", x, beta=1.0)


@lowers("Hardmax")
def hardmax(g: Graph, node: Node) -> Laid:
    """1 at the first largest element along the axis, 0 elsewhere."""
    value = node.input(0)
    if node.opset < 13:
        axis = node.axis(1)
        x = g.reshape(g.tensor(value), (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))
        return g.reshape(_one_hot(g, x), value.shape), identity(value.rank)
    x, perm = with_last(g, value, node.axis(-1))
    return _one_hot(g, x), perm


def _one_hot(g: Graph, x: Tensor) -> Tensor:
    depth = x.shape[-1]
    at = g.op("ARG_MAX", [x, g.constant([x.rank - 1], np.int32)], x.shape[:-1], np.int32, outputType=2)
    values = [g.constant(depth, np.int32), g.constant(1, np.float32), g.constant(0, np.float32)]
    return g.cast(g.op("ONE_HOT", [at, *values], x.shape, np.float32, axis=-1), x.dtype)
