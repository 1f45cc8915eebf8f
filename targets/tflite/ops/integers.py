"""Quantized operators of ONNX, computed in float32 on the integers themselves.

A product of two 8-bit integers has 16 bits, and float32 adds 256 of them without an error, or as many more as
constant weights leave room for; longer sums are added up in int32, part by part. So the results are exactly
those of ONNX; the speed is that of float32.
"""

from __future__ import annotations

import math

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph, Laid, Value, identity
from ..registry import Node, lowers

EXACT = 1 << 24
"""Up to here float32 holds every integer."""
FARTHEST = 255
"""Of an 8-bit number from its zero point."""
EXACT_TERMS = EXACT // (FARTHEST * FARTHEST)
STORED = frozenset({"int8", "uint8", "int16", "uint16", "int32"})
RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}


@lowers("QuantizeLinear")
def quantize_linear(g: Graph, node: Node) -> Laid:
    """saturate(round(x / scale) + zero), halves to even."""
    value, out = node.input(0), node.outputs[0]
    if out.dtype.name not in RANGES or node.integer("block_size") or value.dtype.kind != "f":
        raise Unsupported(f"quantizing {value.dtype.name} to {out.dtype.name}", "use 8 or 16 bits, no blocks")
    _check_scale(node.input(1))
    x = g.cast(g.tensor(value), np.float32)
    made = _rounded(g, g.div(x, _parameter(g, node, node.input(1), value)))
    zero = node.optional(2)
    if zero is not None:
        made = g.add(made, _parameter(g, node, zero, value))
    return _saturated(g, made, out), identity(value.rank)


@lowers("DequantizeLinear")
def dequantize_linear(g: Graph, node: Node) -> Laid:
    """(x - zero) * scale."""
    value, out = node.input(0), node.outputs[0]
    if value.dtype.name not in STORED or node.integer("block_size"):
        raise Unsupported(f"dequantizing {value.dtype.name}", "use up to 16 bits, no blocks")
    zero = node.optional(2)
    if value.dtype == np.int32 and zero is not None and (zero.const is None or zero.const.any()):
        raise Unsupported("dequantizing int32 with a zero point", "use a zero point of 0")
    made = g.cast(g.tensor(value), np.float32)
    if zero is not None:
        made = g.sub(made, _parameter(g, node, zero, value))
    _check_scale(node.input(1))
    made = g.mul(made, _parameter(g, node, node.input(1), value))
    return g.cast(made, out.dtype), identity(value.rank)


def _parameter(g: Graph, node: Node, held: Value, value: Value) -> Tensor:
    """A scale or zero point as float32, along the axis that it belongs to."""
    x = g.cast(g.tensor(held), np.float32)
    if math.prod(held.shape) == 1:
        return g.reshape(x, ())
    axis = node.integer("axis", 1) % value.rank
    return g.reshape(x, tuple(d if i == axis else 1 for i, d in enumerate(value.shape)))


def _check_scale(scale: Value) -> None:
    """Runtimes flush what is subnormal to zero, and a division by it gives infinity."""
    if scale.const is not None and not (np.abs(scale.const) >= np.finfo(np.float32).tiny).all():
        raise Unsupported("a scale of zero or nearly zero", "quantize the model again")


def _rounded(g: Graph, x: Tensor) -> Tensor:
    return g.unary("ROUND", x)


def _saturated(g: Graph, x: Tensor, out: Value) -> Tensor:
    low, high = RANGES[out.dtype.name]
    wide = g.cast(g.minimum(g.maximum(x, float(low)), float(high)), np.int32)
    return g.cast(wide, out.dtype)


@lowers("MatMulInteger")
def matmul_integer(g: Graph, node: Node) -> Tensor:
    made = _sums(g, node.input(0), node.optional(2), node.input(1), node.optional(3))
    return g.reshape(g.cast(made, np.int32), node.outputs[0].shape)


@lowers("QLinearMatMul")
def qlinear_matmul(g: Graph, node: Node) -> Tensor:
    """Inputs: a, scale, zero; b, scale, zero; the scale and zero of y."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (node.input(i) for i in range(8))
    out = node.outputs[0]
    made = g.cast(_sums(g, a, a_zero, b, b_zero), np.float32)
    for scale in (a_scale, b_scale, y_scale):
        _check_scale(scale)
    scales = (_along(g, a_scale, a, -2), _along(g, b_scale, b, -1), _along(g, y_scale, out, None))
    made = _rounded(g, g.div(g.mul(made, g.mul(scales[0], scales[1])), scales[2]))
    return g.reshape(_saturated(g, g.add(made, _along(g, y_zero, out, None)), out), out.shape)


def _sums(g: Graph, a: Value, a_zero: Value | None, b: Value, b_zero: Value | None) -> Tensor:
    """The product around the zero points, in float32 where that is exact; else in int32, part by part."""
    if a.rank < 2 or b.rank < 2:
        raise Unsupported("an integer product of a vector", "give it two axes")
    x, y = _centred(g, a, a_zero, -2), _centred(g, b, b_zero, -1)
    terms = a.shape[-1]
    if _farthest(x, y) < EXACT:
        return _product(g, x, y)
    total: Tensor | None = None
    for start in range(0, terms, EXACT_TERMS):
        size = min(EXACT_TERMS, terms - start)
        rows = g.slice(x, [0] * (x.rank - 1) + [start], (*x.shape[:-1], size))
        part = g.cast(_product(g, rows, _rows(g, y, start, size)), np.int32)
        total = part if total is None else g.add(total, part)
    assert total is not None
    return total


def _farthest(x: Tensor, y: Tensor) -> float:
    """How far from zero a sum can be, or what is summed up on the way to it."""
    if y.data is None:
        return x.shape[-1] * FARTHEST * FARTHEST
    return float(np.abs(y.data).astype(np.float64).sum(axis=-2).max(initial=0)) * FARTHEST


def _rows(g: Graph, y: Tensor, start: int, size: int) -> Tensor:
    if y.data is not None:
        return g.constant(y.data[..., start : start + size, :], hint=y.name)
    return g.slice(y, [*[0] * (y.rank - 2), start, 0], (*y.shape[:-2], size, y.shape[-1]))


def _product(g: Graph, x: Tensor, y: Tensor) -> Tensor:
    if y.data is not None and y.rank == 2:
        return g.fully_connected(x, g.constant(y.data.T, hint=y.name), None)
    return g.matmul(x, y)


def _centred(g: Graph, value: Value, zero: Value | None, axis: int) -> Tensor:
    x = g.cast(g.tensor(value), np.float32)
    if zero is None:
        return x
    offset = _along(g, zero, value, axis)
    if x.data is not None and offset.data is not None:
        return g.constant(x.data - offset.data, hint=x.name)
    return g.sub(x, offset)


def _along(g: Graph, held: Value, value: Value, axis: int | None) -> Tensor:
    """A scale or zero point as float32: one for the whole tensor, or one for each row (axis -2) or column."""
    x = g.cast(g.tensor(held), np.float32)
    if math.prod(held.shape) == 1:
        return g.reshape(x, ())
    if axis is None or held.shape != (value.shape[axis],):
        raise Unsupported(f"scales of the shape {list(held.shape)}", "use one, or one a row or column")
    return g.reshape(x, (held.shape[0], 1)) if axis == -2 else x
