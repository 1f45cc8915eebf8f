"""Elementwise operators whose expression depends on an attribute or a constant."""

from __future__ import annotations

import numpy as np

from ..literals import c_type
from ..nodes import Array, Graph, Node, Step, Unsupported
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
    """Small constant exponents by products and roots; others, and what is computed at run time, by powf."""
    power = graph.constants.get(node.inputs[1])
    exponent = float(power.ravel().tolist()[0]) if power is not None and power.size == 1 else None
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    kinds = {graph.value(n).dtype.name for n in node.inputs}
    if x.dtype == np.float32 and exponent in POWERS and x.shape == y.shape:
        return [elementwise(node, graph, [node.inputs[0]], POWERS[exponent], node.outputs[0])]
    if x.dtype.kind in "iu" and len(set(node.inputs)) == 2:
        return [_integer_power(node, graph, power)]
    exact = {"float32", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
    if x.dtype != np.float32 or not kinds <= exact or len(set(node.inputs)) < 2:
        raise Unsupported(f"Pow of {' and '.join(sorted(kinds))} has no C kernel", "cast both to float32")
    return [elementwise(node, graph, list(node.inputs), "sprue_powf(a, (float)b)", node.outputs[0])]


def _integer_power(node: Node, graph: Graph, power: Array | None) -> Step:
    """By repeated products, modulo the width of the type; a negative power of anything but 1 and -1 is 0."""
    x, exponent = (graph.value(n).dtype for n in node.inputs)
    whole = exponent.kind in "iu" or (power is not None and bool((power == np.rint(power)).all()))
    if not whole:
        raise Unsupported(f"Pow of {x} by a fraction has no C kernel", "cast both to float32")
    sign = "(int64_t)" if x.kind == "i" else ""
    made = f"sprue_powi((uint64_t){sign}a, (int64_t)b)"
    return elementwise(node, graph, list(node.inputs), f"({c_type(x)}){made}", node.outputs[0])


def lower_mod(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """The sign of the divisor (Python's rule), or with fmod that of the dividend (C's)."""
    dtype = graph.value(node.inputs[0]).dtype
    if dtype.name in ("float32", "float64") and len(set(node.inputs)) == 2:
        suffix = "f" if dtype == np.float32 else ""
        rest = "fmod" if node.integer("fmod", 0) else "floormod"
        return [elementwise(node, graph, list(node.inputs), f"sprue_{rest}{suffix}(a, b)", node.outputs[0])]
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
    ends = {"detect_positive": "a > 3.40282347e38f", "detect_negative": "a < -3.40282347e38f"}
    asked = [test for name, test in ends.items() if node.integer(name, 1)]
    if not asked:
        raise Unsupported("IsInf that detects nothing", "remove it")
    return [elementwise(node, graph, [node.inputs[0]], " || ".join(asked), node.outputs[0])]


def lower_shift(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """A shift by the width or more leaves nothing, or the sign; right shifts of signed numbers keep it."""
    dtype = graph.value(node.inputs[0]).dtype
    if dtype.kind not in "iu" or len(set(node.inputs)) < 2:
        raise Unsupported(f"BitShift of {dtype} has no C kernel", "use an integer")
    bits = dtype.itemsize * 8
    wide = f"uint{max(32, bits)}_t"
    count = f"({wide})b"
    if node.text("direction", "LEFT") == "LEFT":
        shifted = f"{count} >= {bits} ? 0 : ({wide})a << b"
    elif dtype.kind == "u":
        shifted = f"{count} >= {bits} ? 0 : ({wide})a >> b"
    else:  # C leaves a right shift of a negative number to the compiler; of its complement it does not
        within = f"({count} >= {bits} ? {bits - 1} : {count})"
        shifted = f"a < 0 ? ~(({wide})~a >> {within}) : ({wide})a >> {within}"
    return [elementwise(node, graph, list(node.inputs), shifted, node.outputs[0])]


OPERATORS = {
    "Pow": lower_pow,
    "Mod": lower_mod,
    "IsNaN": lower_is,
    "IsInf": lower_is,
    "BitShift": lower_shift,
}
