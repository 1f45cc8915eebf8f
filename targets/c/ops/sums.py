"""Add and Sub. Of 8-bit tensors in integers only, as XNNPACK, LiteRT's default, computes them.

Each operand is multiplied by its scale over the result's as a fixed-point number, of which the larger has 21
bits; both share one shift, and what is shifted out is rounded half up. A zero point comes off beforehand, in
the constant term. Where one scale is more than 256 times the result's, or none a 1024th of it: in float.
"""

from __future__ import annotations

import math

import numpy as np

from ..nodes import Graph, Node, Quant, Step
from .conv import requantization_limits
from .elementwise import elementwise, lower_elementwise

MULTIPLIER_BITS = 20
"""The larger multiplier lies in 2^20 .. 2^21: products with 9 bits, their sum and half a unit fit int32."""


def lower_sum(node: Node, graph: Graph, effort: object) -> list[Step]:
    names = list(node.inputs)
    if node.result is None or set(node.quants) != {0, 1} or names[0] == names[1]:
        return lower_elementwise(node, graph, effort)
    a, b = node.quants[0], node.quants[1]
    fixed = fixed_point(a, b, node.result)
    if fixed is None:
        return lower_elementwise(node, graph, effort)
    (first, second), shift = fixed
    second = -second if node.op == "Sub" else second
    start = (1 << (shift - 1)) - first * int(a.zero) - second * int(b.zero)
    low, high = requantization_limits(node.clamp, node.result)
    zero = int(node.result.zero)
    sum_ = f"({start} + a * {first} {'+' if second >= 0 else '-'} b * {abs(second)}) >> {shift}"
    expression = f"sprue_limited({sum_}, {zero}, {low}, {high})"
    return [elementwise(node, graph, names, expression, node.outputs[0], stored=True)]


def fixed_point(a: Quant, b: Quant, result: Quant) -> tuple[tuple[int, int], int] | None:
    """The two multipliers and the shift; None when the scales are too far apart."""
    ratios = [np.float32(q.scale / result.scale) for q in (a, b)]
    exponent = math.frexp(float(max(ratios)))[1] - 1
    if not -10 <= exponent < 8:
        return None
    shift = MULTIPLIER_BITS - exponent
    first, second = (int(np.rint(np.float64(r) * 2.0**shift)) for r in ratios)
    return (first, second), shift


OPERATORS = {"Add": lower_sum, "Sub": lower_sum}
