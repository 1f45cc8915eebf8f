"""Add and Sub. Of 8-bit tensors in integers only, as XNNPACK, LiteRT's default, computes them.

Each operand is multiplied by its scale over the result's as a fixed-point number, of which the larger has 21
bits; both share one shift, and what is shifted out is rounded half up. A zero point comes off beforehand, in
the constant term. Where one scale is more than 256 times the result's, or none a 1024th of it: in float.

In fixed point, for processors without floats, as TFLite's own kernels: each product is rounded by itself.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels.fixed_point import fixed_factors
from ..kernels.requantize import requantization_limits
from ..literals import c_literal
from ..nodes import Graph, Node, Quant, Step
from .elementwise import elementwise, lower_elementwise

MULTIPLIER_BITS = 20
"""The larger multiplier lies in 2^20 .. 2^21: products with 9 bits, their sum and half a unit fit int32."""
TFLITE_SHIFT = 20
"""Bits by which TFLite shifts operands of 9 bits left before it multiplies them."""


def lower_sum(node: Node, graph: Graph, effort: object) -> list[Step]:
    names = list(node.inputs)
    if node.result is None or set(node.quants) != {0, 1} or names[0] == names[1]:
        return lower_elementwise(node, graph, effort)
    makes = _three_factors if graph.fixed_point else _one_shift
    sum_ = makes(node.quants[0], node.quants[1], node.result, "-" if node.op == "Sub" else "+")
    if sum_ is None:
        return lower_elementwise(node, graph, effort)
    low, high = requantization_limits(node.clamp, node.result)
    expression = f"sprue_limited({sum_}, {int(node.result.zero)}, {low}, {high})"
    return [elementwise(node, graph, names, expression, node.outputs[0], stored=True)]


def _one_shift(a: Quant, b: Quant, result: Quant, sign: str) -> str | None:
    """The sum without its zero point, in C; None when the scales are too far apart."""
    ratios = [np.float32(q.scale / result.scale) for q in (a, b)]
    exponent = math.frexp(float(max(ratios)))[1] - 1
    if not -10 <= exponent < 8:
        return None
    shift = MULTIPLIER_BITS - exponent
    first, second = (int(np.rint(np.float64(r) * 2.0**shift)) for r in ratios)
    centre = first * int(a.zero) + (second if sign == "+" else -second) * int(b.zero)
    return f"({(1 << (shift - 1)) - centre} + a * {first} {sign} b * {second}) >> {shift}"


def _three_factors(a: Quant, b: Quant, result: Quant, sign: str) -> str | None:
    """As TFLite's own kernels: both operands in units of twice the larger scale, shifted left; their sum."""
    scales = [float(q.scale) for q in (a, b)]
    unit = 2 * max(scales)
    last = unit / (2.0**TFLITE_SHIFT * float(result.scale))
    factors = fixed_factors(np.array([scales[0] / unit, scales[1] / unit, last]))
    if factors is None:
        return None
    first, second, last_factor = (c_literal(int(f), np.dtype(np.int64)) for f in factors)
    shifted = [f"({n} - ({int(q.zero)})) * {1 << TFLITE_SHIFT}" for n, q in (("a", a), ("b", b))]
    both = f"sprue_requantize({shifted[0]}, {first}) {sign} sprue_requantize({shifted[1]}, {second})"
    return f"sprue_requantize({both}, {last_factor})"


OPERATORS = {"Add": lower_sum, "Sub": lower_sum}
