"""Quantized operators of ONNX, computed in float32 on the integers themselves.

A product of two 8-bit integers has 16 bits, and float32 adds 256 of them without an error: longer sums are
refused. The results are exactly those of ONNX; the speed is that of float32.
"""

from __future__ import annotations

import math

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph, Laid, Value, identity
from ..registry import Node, lowers

EXACT_TERMS = 256
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
    made = _product(g, node, node.input(0), node.optional(2), node.input(1), node.optional(3))
    return g.reshape(g.cast(made, np.int32), node.outputs[0].shape)


@lowers("QLinearMatMul")
def qlinear_matmul(g: Graph, node: Node) -> Tensor:
    """Inputs: a, scale, zero; b, scale, zero; the scale and zero of y."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (node.input(i) for i in range(8))
    out = node.outputs[0]
    made = _product(g, node, a, a_zero, b, b_zero)
    for scale in (a_scale, b_scale, y_scale):
        _check_scale(scale)
    scales = [_one(g, s) for s in (a_scale, b_scale, y_scale)]
    made = _rounded(g, g.div(g.mul(made, g.mul(scales[0], scales[1])), scales[2]))
    return g.reshape(_saturated(g, g.add(made, _one(g, y_zero)), out), out.shape)


def _product(g: Graph, node: Node, a: Value, a_zero: Value | None, b: Value, b_zero: Value | None) -> Tensor:
    if a.rank < 2 or b.rank < 2 or a.shape[-1] > EXACT_TERMS:
        raise Unsupported(f"an integer product over {a.shape[-1]} terms", f"use at most {EXACT_TERMS}")
    x, y = _centred(g, a, a_zero), _centred(g, b, b_zero)
    return g.matmul(x, y)


def _centred(g: Graph, value: Value, zero: Value | None) -> Tensor:
    x = g.cast(g.tensor(value), np.float32)
    return x if zero is None else g.sub(x, _one(g, zero))


def _one(g: Graph, value: Value) -> Tensor:
    """One scale or zero point for the whole tensor."""
    if math.prod(value.shape) != 1:
        raise Unsupported("a scale for each row", "use one for the whole tensor")
    return g.reshape(g.cast(g.tensor(value), np.float32), ())
