"""Arithmetic, comparison and logic on elements, with NumPy broadcasting."""

from __future__ import annotations

from functools import reduce

import numpy as np

from ..emit import Perm, Tensor, Unsupported
from ..layout import Graph, Laid, Value, identity
from ..registry import Node, computable, lowers

ARITHMETIC = frozenset({"float32", "int32", "int64"})
BINARY = {
    "Add": ("ADD", ARITHMETIC),
    "Sub": ("SUB", ARITHMETIC),
    "Mul": ("MUL", ARITHMETIC),
    "Max": ("MAXIMUM", ARITHMETIC),
    "Min": ("MINIMUM", ARITHMETIC),
    "Sum": ("ADD", frozenset({"float32"})),
}
COMPARISONS = {
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
}
UNARY = {
    "Abs": ("ABS", frozenset({"float32", "int32"})),
    "Neg": ("NEG", ARITHMETIC),
    "Exp": ("EXP", frozenset({"float32"})),
    "Log": ("LOG", frozenset({"float32"})),
    "Sqrt": ("SQRT", frozenset({"float32"})),
    "Sin": ("SIN", frozenset({"float32"})),
    "Cos": ("COS", frozenset({"float32"})),
    "Floor": ("FLOOR", frozenset({"float32"})),
    "Ceil": ("CEIL", frozenset({"float32"})),
    "Round": ("ROUND", frozenset({"float32"})),
    "Sign": ("SIGN", frozenset({"float32", "int32"})),
}
MAX_BROADCAST_RANK = 5
"""Kernels broadcast up to this many axes (some up to 6); tensors of one shape may have any number."""


def operands(g: Graph, values: list[Value], native: frozenset[str]) -> tuple[list[Tensor], Perm]:
    """The values in one order and in a dtype that the kernel has."""
    tensors, perm = g.alike(values)
    dtype = computable(values[0].dtype, native)
    shapes = {t.shape for t in tensors if t.rank}
    if len(shapes) > 1 and max(len(s) for s in shapes) > MAX_BROADCAST_RANK:
        raise Unsupported(f"broadcasting over {len(perm)} axes; TFLite has {MAX_BROADCAST_RANK}")
    return [g.cast(t, dtype) for t in tensors], perm


@lowers(*BINARY)
def arithmetic(g: Graph, node: Node) -> Laid:
    code, native = BINARY[node.op]
    values = node.present()
    if node.op == "Add" and (fused := _fused_bias(g, values)) is not None:
        return fused
    tensors, perm = operands(g, values, native)
    made = reduce(lambda a, b: g.binary(code, a, b), tensors)
    return g.cast(made, values[0].dtype), perm


def _fused_bias(g: Graph, values: list[Value]) -> Laid | None:
    """x @ W + b as one FULLY_CONNECTED, where b is a constant along the last axis."""
    for x, b in (values, values[::-1]):
        if b.const is None or not b.shape or b.const.size != b.shape[-1]:
            continue
        alone = g.changeable(x)
        if alone is None or b.rank > x.rank or alone[1] != identity(x.rank):
            continue
        tensor = alone[0]
        made = tensor.producer
        if made is None or made.code != "FULLY_CONNECTED" or b.const.size != tensor.shape[-1]:
            continue
        if made.inputs[2] is None and made.options.get("fusedActivationFunction", "NONE") == "NONE":
            made.inputs[2] = g.constant(b.const.reshape(-1), hint=b.name)
            tensor.holders -= 1  # the product without its bias is gone
            return alone
    return None


@lowers("Div")
def divide(g: Graph, node: Node) -> Laid:
    """Float, or integers where the result is truncated towards zero."""
    (a, b), perm = operands(g, node.present(), frozenset({"float32", "int32"}))
    return g.cast(g.div(a, b), node.input(0).dtype), perm


@lowers("Mean")
def mean(g: Graph, node: Node) -> Laid:
    tensors, perm = operands(g, node.present(), frozenset({"float32"}))
    total = g.mul(reduce(g.add, tensors), 1.0 / len(tensors))
    return g.cast(total, node.input(0).dtype), perm


@lowers("Pow")
def power(g: Graph, node: Node) -> Laid:
    base, exponent = node.input(0), node.input(1)
    if base.dtype.kind in "iu" and base.dtype.itemsize > 4:
        return _whole_power(g, base, exponent)
    floating = base.dtype.kind == "f" or exponent.dtype.kind == "f"
    dtype = np.dtype(np.float32 if floating else np.int32)
    if dtype == np.int32 and exponent.const is not None and (exponent.const < 0).any():
        raise Unsupported("an integer power with a negative exponent", "cast to float32 before it")
    for value in (base, exponent):
        if value.dtype.itemsize > 4 and value.const is None:
            raise Unsupported(f"a power of {value.dtype.name}", "cast to float32 or int32 before it")
    tensors, perm = g.alike([base, exponent])
    x, y = (g.cast(t, dtype) for t in tensors)
    if floating and exponent.const is not None and exponent.const.size == 1:
        known = {2.0: lambda: g.mul(x, x), 0.5: lambda: g.unary("SQRT", x), 1.0: lambda: x}
        plain = known.get(float(exponent.const.reshape(())))
        if plain is not None and exponent.rank <= base.rank:
            return g.cast(plain(), base.dtype), perm
    return g.cast(g.binary("POW", x, y), base.dtype), perm


def _whole_power(g: Graph, base: Value, exponent: Value) -> Laid:
    """int64 to constant whole powers: products of its squares."""
    e = exponent.const
    if e is None or base.dtype != np.int64 or not ((e >= 0) & (e == np.floor(e)) & (e < 64)).all():
        raise Unsupported(f"a power of {base.dtype.name}", "cast to float32 or int32 before it")
    (square, whole), perm = operands(g, [base, exponent], ARITHMETIC)
    powers = whole.data
    assert powers is not None
    made = g.constant(np.ones_like(powers))
    for bit in range(6):
        if not (powers >> bit).any():
            break
        taken = g.constant((powers >> bit) % 2 == 1)
        square = g.mul(square, square) if bit else square
        made = g.mul(made, g.select(taken, square, g.constant(1, square.dtype)))
    return g.broadcast(made, np.broadcast_shapes(square.shape, powers.shape)), perm


@lowers("Mod")
def modulo(g: Graph, node: Node) -> Laid:
    """fmod=0: the sign of the divisor (FLOOR_MOD); fmod=1: the sign of the dividend, as in C."""
    native = frozenset({"float32", "int32", "int64"})
    (a, b), perm = operands(g, node.present(), native)
    made = g.binary("FLOOR_MOD", a, b)
    if node.integer("fmod") and a.dtype == np.int64:  # which ABS does not take
        other = g.binary("NOT_EQUAL", g.compare("LESS", a, 0), g.compare("LESS", made, 0), np.bool_)
        away = g.binary("LOGICAL_AND", other, g.compare("NOT_EQUAL", made, 0))
        made = g.select(away, g.sub(made, b), made)
    elif node.integer("fmod"):
        size = g.binary("FLOOR_MOD", g.unary("ABS", a), g.unary("ABS", b))
        made = g.select(g.compare("LESS", g.add(a, g.sub(b, b)), 0), g.unary("NEG", size), size)
    return g.cast(made, node.input(0).dtype), perm


@lowers(*COMPARISONS)
def compare(g: Graph, node: Node) -> Laid:
    native = ARITHMETIC | ({"bool"} if node.op == "Equal" else set())
    (a, b), perm = operands(g, node.present(), frozenset(native))
    return g.compare(COMPARISONS[node.op], a, b), perm


@lowers("And", "Or", "Xor")
def logic(g: Graph, node: Node) -> Laid:
    code = {"And": "LOGICAL_AND", "Or": "LOGICAL_OR", "Xor": "NOT_EQUAL"}[node.op]
    (a, b), perm = operands(g, node.present(), frozenset({"bool"}))
    return g.binary(code, a, b), perm


@lowers("Not")
def logical_not(g: Graph, node: Node) -> Laid:
    (x,), perm = g.alike([node.input(0)])
    return g.unary("LOGICAL_NOT", x), perm


@lowers("Where")
def where(g: Graph, node: Node) -> Laid:
    tensors, perm = g.alike(node.present())
    native = frozenset({"float32", "int32", "int64", "int16", "int8", "uint8", "bool"})
    dtype = computable(node.input(1).dtype, native)
    condition, a, b = tensors[0], g.cast(tensors[1], dtype), g.cast(tensors[2], dtype)
    if max(t.rank for t in tensors) > MAX_BROADCAST_RANK and len({t.shape for t in tensors}) > 1:
        raise Unsupported(f"a selection that broadcasts over more than {MAX_BROADCAST_RANK} axes")
    return g.cast(g.select(condition, a, b), node.input(1).dtype), perm


@lowers(*UNARY)
def unary(g: Graph, node: Node) -> Laid:
    code, native = UNARY[node.op]
    (x,), perm = operands(g, [node.input(0)], native)
    return g.cast(g.unary(code, x), node.input(0).dtype), perm


@lowers("Reciprocal")
def reciprocal(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], frozenset({"float32"}))
    return g.cast(g.div(g.constant(1.0, np.float32), x), node.input(0).dtype), perm


@lowers("IsNaN")
def is_nan(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], frozenset({"float32"}))
    return g.compare("NOT_EQUAL", x, x), perm


@lowers("IsInf")
def is_inf(g: Graph, node: Node) -> Laid:
    (x,), perm = operands(g, [node.input(0)], frozenset({"float32"}))
    positive, negative = node.integer("detect_positive", 1), node.integer("detect_negative", 1)
    if not positive and not negative:
        raise Unsupported("IsInf that detects nothing", "remove it")
    looked = g.unary("ABS", x) if positive and negative else x
    return g.compare("EQUAL", looked, np.inf if positive else -np.inf), perm
