"""Elementwise operators whose expression depends on an attribute or a constant."""

from __future__ import annotations

import numpy as np

from ..literals import c_type
from ..nodes import Graph, Node, Step, Unsupported
from .elementwise import elementwise

POWERS = {
    2.0: "a * a",
    3.0: "a * a * a",
    4.0: "(a * a) * (a * a)",
    1.0: "a",
    0.5: "sprue_sqrtf(a)",
    -0.5: "1.0f / sprue_sqrtf(a)",
    -1.0: "1.0f / a",
    -2.0: "1.0f / (a * a)",
}


def lower_pow(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """Constant exponents that need no logarithm, whose error would grow with the exponent."""
    power = graph.constant(node, 1, "exponent")
    exponent = float(power.ravel().tolist()[0]) if power.size == 1 else 0.0
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if x.dtype != np.float32 or exponent not in POWERS or x.shape != y.shape:
        raise Unsupported(f"Pow with this exponent or of {x.dtype}", f"exponents: {sorted(POWERS)}")
    return [elementwise(node, graph, [node.inputs[0]], POWERS[exponent], node.outputs[0])]


def lower_mod(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """Integers: the sign of the divisor (Python's rule), or with fmod that of the dividend (C's)."""
    dtype = graph.value(node.inputs[0]).dtype
    if dtype.kind not in "iu" or len(set(node.inputs)) < 2:
        raise Unsupported(f"Mod of {dtype} has no C kernel", "cast it to an integer")
    safe = "b == 0 || b == -1 ? 0 : " if dtype.kind == "i" else "b == 0 ? 0 : "
    rest = f"({c_type(dtype)})(a % b)"
    if dtype.kind == "i" and not node.integer("fmod", 0):
        rest = f"({rest} != 0 && ({rest} < 0) != (b < 0) ? {rest} + b : {rest})"
    node.ignore("fmod")
    return [elementwise(node, graph, list(node.inputs), safe + rest, node.outputs[0])]


def lower_is(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """IsNaN, IsInf of float32."""
    if graph.value(node.inputs[0]).dtype != np.float32:
        raise Unsupported(f"{node.op} of {graph.value(node.inputs[0]).dtype} has no C kernel", "cast it")
    if node.op == "IsNaN":
        return [elementwise(node, graph, [node.inputs[0]], "a != a", node.outputs[0])]
    above = "a > 3.40282347e38f" if node.integer("detect_positive", 1) else "0"
    below = "a < -3.40282347e38f" if node.integer("detect_negative", 1) else "0"
    return [elementwise(node, graph, [node.inputs[0]], f"{above} || {below}", node.outputs[0])]


def lower_shift(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """Unsigned only, by ONNX; a shift by the width or more is 0."""
    dtype = graph.value(node.inputs[0]).dtype
    if dtype.kind != "u" or len(set(node.inputs)) < 2:
        raise Unsupported(f"BitShift of {dtype} has no C kernel", "use an unsigned integer")
    sign = "<<" if node.text("direction", "LEFT") == "LEFT" else ">>"
    wide = f"uint{max(32, dtype.itemsize * 8)}_t"
    shifted = f"b >= {dtype.itemsize * 8} ? 0 : ({wide})a {sign} b"
    return [elementwise(node, graph, list(node.inputs), shifted, node.outputs[0])]


OPERATORS = {
    "Pow": lower_pow,
    "Mod": lower_mod,
    "IsNaN": lower_is,
    "IsInf": lower_is,
    "BitShift": lower_shift,
}
