"""Activation functions."""

from __future__ import annotations

import math

import numpy as np

from ..emit import Tensor, fuse_activation
from ..layout import Graph, Laid
from ..registry import Node, lowers
from .elementwise import ARITHMETIC, operands

FLOAT = frozenset({"float32"})
BUILTIN = {"Tanh": "TANH", "Sigmoid": "LOGISTIC", "HardSwish": "HARD_SWISH"}
CLIPS = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
"""(low, high) -> the activation that TFLite has for it."""


@lowers(*BUILTIN)
def builtin(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    return g.cast(g.unary(BUILTIN[node.op], x), node.input(0).dtype), perm


@lowers("Relu")
def relu(g: Graph, node: Node) -> Laid:
    if node.input(0).dtype.kind == "i":
        (x,), perm = operands(g, [node.input(0)], ARITHMETIC)
        return g.cast(g.maximum(x, 0), node.input(0).dtype), perm
    return _clipped(g, node, 0.0, math.inf)


@lowers("Clip")
def clip(g: Graph, node: Node) -> Laid:
    """min(max(x, low), high); the bounds are attributes before opset 11, inputs since."""
    value = node.input(0)
    if node.opset < 11:
        return _clipped(g, node, node.real("min", -math.inf), node.real("max", math.inf))
    low, high = node.optional(1), node.optional(2)
    known = all(v is None or v.const is not None for v in (low, high))
    if known and value.dtype.kind == "f":
        bounds = [float(v.const.reshape(())) if v and v.const is not None else None for v in (low, high)]
        return _clipped(
            g,
            node,
            -math.inf if bounds[0] is None else bounds[0],
            math.inf if bounds[1] is None else bounds[1],
        )
    (x,), perm = operands(g, [value], ARITHMETIC)
    if low is not None:
        x = g.maximum(x, g.cast(g.tensor(low), x.dtype))
    if high is not None:
        x = g.minimum(x, g.cast(g.tensor(high), x.dtype))
    return g.cast(x, value.dtype), perm


def _clipped(g: Graph, node: Node, low: float, high: float) -> Laid:
    value = node.input(0)
    (x,), perm = operands(g, [value], FLOAT)
    activation = CLIPS.get((low, high))
    if activation is not None:
        alone = g.changeable(value)
        if alone is not None and alone[0] is x and fuse_activation(x, activation):
            x.holders -= 1  # the value before the activation is gone
            return x, perm
        return g.cast(g.unary(activation, x), value.dtype), perm
    if low > -math.inf:
        x = g.maximum(x, low)
    if high < math.inf:
        x = g.minimum(x, high)
    return g.cast(x, value.dtype), perm


@lowers("LeakyRelu")
def leaky_relu(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    made = g.unary("LEAKY_RELU", x, alpha=node.real("alpha", 0.01))
    return g.cast(made, node.input(0).dtype), perm


@lowers("PRelu")
def prelu(g: Graph, node: Node) -> Laid:
    """PRELU takes a slope that broadcasts over at most 4 axes; more are written out."""
    (x, slope), perm = operands(g, node.present(), FLOAT)
    if x.rank <= 4 and slope.rank <= x.rank:
        made = g.op("PRELU", [x, slope], x.shape, x.dtype)
    else:
        made = g.add(g.unary("RELU", x), g.mul(slope, g.minimum(x, 0.0)))
    return g.cast(made, node.input(0).dtype), perm


@lowers("Elu", "Selu", "Celu")
def elu(g: Graph, node: Node) -> Laid:
    """ELU has alpha 1: scale * (max(x, 0) + alpha * min(elu(x / width), 0)) gives the others."""
    alpha = node.real("alpha", 1.6732632423543772 if node.op == "Selu" else 1.0)
    scale = node.real("gamma", 1.0507009873554805) if node.op == "Selu" else 1.0
    width = alpha if node.op == "Celu" else 1.0
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    made = g.unary("ELU", x if width == 1.0 else g.mul(x, 1.0 / width))
    if alpha != 1.0:
        made = g.add(g.unary("RELU", x), g.mul(g.minimum(made, 0.0), alpha))
    return g.cast(made if scale == 1.0 else g.mul(made, scale), node.input(0).dtype), perm


@lowers("HardSigmoid")
def hard_sigmoid(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    line = g.add(g.mul(x, node.real("alpha", 0.2)), node.real("beta", 0.5))
    return g.cast(g.minimum(g.maximum(line, 0.0), 1.0), node.input(0).dtype), perm


@lowers("ThresholdedRelu")
def thresholded_relu(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    above = g.compare("GREATER", x, node.real("alpha", 1.0))
    return g.cast(g.select(above, x, g.constant(0, np.float32)), node.input(0).dtype), perm


@lowers("Gelu")
def gelu(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    made = g.unary("GELU", x, approximate=node.text("approximate", "none") == "tanh")
    return g.cast(made, node.input(0).dtype), perm


@lowers("Erf")
def erf(g: Graph, node: Node) -> Laid:
    """TFLite has no ERF, but gelu(y) = y * (1 + erf(y / sqrt 2)) / 2. Near 0 erf(x) = 2 x / sqrt(pi)."""
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    near = g.compare("LESS", g.unary("ABS", x), 1e-3)
    y = g.mul(g.minimum(g.maximum(x, -6.0), 6.0), math.sqrt(2.0))
    safe = g.select(near, g.constant(1.0, np.float32), y)
    far = g.sub(g.mul(g.div(g.unary("GELU", safe, approximate=False), safe), 2.0), 1.0)
    made = g.select(near, g.mul(x, 2.0 / math.sqrt(math.pi)), far)
    return g.cast(made, node.input(0).dtype), perm


@lowers("Softplus")
def softplus(g: Graph, node: Node) -> Laid:
    """log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|))."""
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    return g.cast(_softplus(g, x), node.input(0).dtype), perm


def _softplus(g: Graph, x: Tensor) -> Tensor:
    small = g.unary("EXP", g.unary("NEG", g.unary("ABS", x)))
    return g.add(g.unary("RELU", x), _log1p(g, small))


def _log1p(g: Graph, x: Tensor) -> Tensor:
    """log(1 + x) for x in [0, 1]. LOG is exact to 1e-7 absolute only, a small x takes the series."""
    series = g.constant(0.2, np.float32)
    for term in (-0.25, 1 / 3, -0.5, 1.0):
        series = g.add(g.mul(series, x), term)
    return g.select(g.compare("LESS", x, 0.04), g.mul(series, x), g.unary("LOG", g.add(x, 1.0)))


@lowers("Mish")
def mish(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    return g.cast(g.mul(x, g.unary("TANH", _softplus(g, x))), node.input(0).dtype), perm


@lowers("Softsign")
def softsign(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], FLOAT)
    return g.cast(g.div(x, g.add(g.unary("ABS", x), 1.0)), node.input(0).dtype), perm
