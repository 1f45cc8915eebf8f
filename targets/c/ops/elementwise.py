"""Elementwise operators with broadcasting: one expression over the operands, in as few loops as it takes.

Quantized operands are dequantized, and results quantized, inside the expression, in float32 and in the order
of DequantizeLinear, operator, QuantizeLinear: equal to those in every element. A quantized operator of one
operand is a table of 256 results.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto, helper

from ..kernels.nest import broadcast, index, loops
from ..literals import as_double, c_float, c_literal, c_type
from ..nodes import Array, Call, Clamp, Graph, Node, Quant, Read, Step, Unsupported, Write, integer_limits
from ..tables import codes, quantized, table_call

FLOAT_UNARY = {
    "Abs": "a < 0.0f ? -a : a",
    "Acos": "sprue_acosf(a)",
    "Acosh": "sprue_acoshf(a)",
    "Asin": "sprue_asinf(a)",
    "Asinh": "sprue_asinhf(a)",
    "Atan": "sprue_atanf(a)",
    "Atanh": "sprue_atanhf(a)",
    "Ceil": "sprue_ceilf(a)",
    "Celu": "sprue_maxf(a, 0.0f) + {alpha} * (sprue_expf(sprue_minf(a, 0.0f) / {alpha}) - 1.0f)",
    "Cos": "sprue_sinf(a, 1)",
    "Cosh": "sprue_coshf(a)",
    "Elu": "a < 0.0f ? {alpha} * (sprue_expf(a) - 1.0f) : a",
    "Erf": "sprue_erff(a)",
    "Exp": "sprue_expf(a)",
    "Floor": "sprue_floorf(a)",
    "Gelu": "0.5f * a * (1.0f + sprue_erff(a * 0.70710678f))",
    "HardSigmoid": "sprue_clampf({alpha} * a + {beta}, 0.0f, 1.0f)",
    "HardSwish": "a * sprue_clampf(a * 0.16666667f + 0.5f, 0.0f, 1.0f)",
    "LeakyRelu": "a < 0.0f ? {alpha} * a : a",
    "Log": "sprue_logf(a)",
    "Mish": "a * sprue_tanhf(sprue_softplusf(a))",
    "Neg": "-a",
    "Reciprocal": "1.0f / a",
    "Relu": "a < 0.0f ? 0.0f : a",
    "Round": "sprue_rintf(a)",
    "Shrink": "a < -{lambd} ? a + {bias} : a > {lambd} ? a - {bias} : 0.0f",
    "Selu": "{gamma} * (a > 0.0f ? a : {alpha} * (sprue_expf(a) - 1.0f))",
    "Sigmoid": "sprue_sigmoidf(a)",
    "Sign": "(float)((a > 0.0f) - (a < 0.0f))",
    "Sin": "sprue_sinf(a, 0)",
    "Sinh": "sprue_sinhf(a)",
    "Softplus": "sprue_softplusf(a)",
    "Softsign": "a / (1.0f + (a < 0.0f ? -a : a))",
    "Sqrt": "sprue_sqrtf(a)",
    "Swish": "a * sprue_sigmoidf({alpha} * a)",
    "Tan": "sprue_sinf(a, 0) / sprue_sinf(a, 1)",
    "Tanh": "sprue_tanhf(a)",
    "ThresholdedRelu": "a > {alpha} ? a : 0.0f",
}
DEFAULTS = {
    ("Celu", "alpha"): 1.0,
    ("Elu", "alpha"): 1.0,
    ("HardSigmoid", "alpha"): 0.2,
    ("HardSigmoid", "beta"): 0.5,
    ("LeakyRelu", "alpha"): 0.01,
    ("Shrink", "bias"): 0.0,
    ("Shrink", "lambd"): 0.5,
    ("Swish", "alpha"): 1.0,
    ("Selu", "alpha"): 1.67326319217681884765625,
    ("Selu", "gamma"): 1.05070102214813232421875,
    ("ThresholdedRelu", "alpha"): 1.0,
}
GELU_TANH = "0.5f * a * (1.0f + sprue_tanhf(0.79788456f * (a + 0.044715f * a * a * a)))"
INTEGER_UNARY = {
    "Abs": "a < 0 ? -a : a",
    "BitwiseNot": "~a",
    "Neg": "-a",
    "Relu": "a < 0 ? 0 : a",
    "Sign": "(a > 0) - (a < 0)",
}
FLOAT_BINARY = {
    "Add": "a + b",
    "Sub": "a - b",
    "Mul": "a * b",
    "Div": "a / b",
    "Max": "a > b || a != a ? a : b",
    "Min": "a < b || a != a ? a : b",
    "Sum": "a + b",
    "PRelu": "a < 0.0f ? a * b : a",
}
INTEGER_BINARY = {
    "Add": "({u})a + ({u})b",
    "Sub": "({u})a - ({u})b",
    "Mul": "({u})a * ({u})b",
    "Div": "b == 0 ? 0 : {minus_one}a / b",
    "Max": "a > b ? a : b",
    "Min": "a < b ? a : b",
    "Sum": "({u})a + ({u})b",
    "BitwiseAnd": "a & b",
    "BitwiseOr": "a | b",
    "BitwiseXor": "a ^ b",
}
COMPARISONS = {
    "Equal": "a == b",
    "Greater": "a > b",
    "GreaterOrEqual": "a >= b",
    "Less": "a < b",
    "LessOrEqual": "a <= b",
}
LOGICAL = {"And": "a && b", "Or": "a || b", "Xor": "(a != 0) != (b != 0)"}
VARIADIC = frozenset({"Max", "Min", "Sum", "Mean"})
CLAMPS = frozenset({"Add", "Sub", "Mul", "Div", "Sum"})


def accepts(node: Node, graph: Graph) -> bool:
    """Per-tensor 8-bit operands; what is not quantized must be float32."""
    plain = (i for p, i in enumerate(node.inputs) if i and p not in node.quants)
    quants = [*node.quants.values(), *([node.result] if node.result else [])]
    return (
        all(q.per_tensor and q.dtype.itemsize == 1 for q in quants)
        and all(graph.value(i).dtype == np.float32 for i in plain)
        and (node.result is not None or graph.value(node.outputs[0]).dtype == np.float32)
    )


def lower_elementwise(node: Node, graph: Graph, _effort: object) -> list[Step]:
    if node.op in FLOAT_UNARY and 0 in node.quants and node.result is not None:
        return _table(node, graph)
    names = [i for i in node.inputs if i]
    dtype = _compute_dtype(node, graph)
    if node.op in VARIADIC and (len(names) != 2 or node.op == "Mean"):
        return _fold(node, graph, names, dtype)
    return [elementwise(node, graph, names, _expression(node, dtype), node.outputs[0])]


def elementwise(
    node: Node, graph: Graph, names: list[str], expression: str, output: str, *, stored: bool = False
) -> Call:
    """One call that computes `expression` of a, b, c, ... (the tensors `names`) for each element.

    `stored`: of the integers that quantized tensors hold, as int32_t; the result is to be such an integer.
    """
    result = graph.value(output)
    positions = [node.inputs.index(n) for n in names]
    strides = [broadcast(graph.value(n).shape, result.shape) for n in names]
    nest = loops(result.shape, [*strides, broadcast(result.shape, result.shape)])
    operands = []
    for number, (name, position) in enumerate(zip(names, positions, strict=True)):
        dtype = graph.value(name).dtype
        quant = node.quants.get(position)
        at = f"x{number}[{index(nest, number)}]"
        load = at if quant is None or stored else dequantize(at, quant)
        kind = "int32_t" if stored else c_type(dtype if quant is None else np.dtype(np.float32))
        operands.append({"type": c_type(dtype), "kind": kind, "letter": "abcdefgh"[number], "load": load})
    made = expression if stored else _clamped(expression, node.clamp)
    params = {
        "operands": operands,
        "nest": nest,
        "type": c_type(result.dtype),
        "at": index(nest, len(names)),
        "expression": made if node.result is None or stored else quantize(made, node.result),
    }
    flat = [n for n in dict.fromkeys(names) if graph.value(n).size == result.size]
    reuse = tuple((output, n) for n in flat if graph.value(n).dtype.itemsize >= result.dtype.itemsize)
    return Call("elementwise.c.j2", params, (*(Read(n) for n in names), Write(output)), reuse)


def dequantize(stored: str, quant: Quant) -> str:
    zero = (
        f" - {int(quant.zero)}"
        if int(quant.zero) > 0
        else f" + {-int(quant.zero)}"
        if int(quant.zero)
        else ""
    )
    return f"(float)({stored}{zero}) * {c_float(float(quant.scale))}"


def quantize(value: str, quant: Quant) -> str:
    """QuantizeLinear of a float expression: divide, round half to even, add the zero point, saturate."""
    limits = f"{int(quant.zero)}, {quant.low}, {quant.high}"
    return f"sprue_quantize(({value}) / {c_float(float(quant.scale))}, {limits})"


def _clamped(expression: str, clamp: Clamp | None) -> str:
    if clamp is None:
        return expression
    low = "-__builtin_inff()" if clamp.low is None else c_float(clamp.low)
    high = "__builtin_inff()" if clamp.high is None else c_float(clamp.high)
    return f"sprue_clampf({expression}, {low}, {high})"


def _compute_dtype(node: Node, graph: Graph) -> np.dtype[np.generic]:
    position = 1 if node.op == "Where" else 0
    return np.dtype(np.float32) if node.quantized else graph.value(node.inputs[position]).dtype


def _expression(node: Node, dtype: np.dtype[np.generic]) -> str:
    if dtype == np.float64:
        made = as_double(_expression(node, np.dtype(np.float32)))
        if made is None:
            raise Unsupported(f"{node.op} of float64 has no C kernel", "cast its input to float32")
        return made
    kind = "f" if dtype == np.float32 else dtype.kind
    if node.op == "Gelu" and node.text("approximate", "none") == "tanh":
        return GELU_TANH
    if node.op in COMPARISONS:
        return COMPARISONS[node.op]
    if node.op in LOGICAL:
        return LOGICAL[node.op]
    tables: Mapping[str, Mapping[str, str]] = {
        "f": {**FLOAT_UNARY, **FLOAT_BINARY},
        "i": {**INTEGER_UNARY, **INTEGER_BINARY},
        "u": {**INTEGER_BINARY, "Sign": "a > 0", "Relu": "a", "Abs": "a", "BitwiseNot": "~a"},
    }
    if dtype != np.float64 and node.op in tables.get(kind, {}):
        text = tables[kind][node.op]
        names = [n for o, n in DEFAULTS if o == node.op]
        values = {n: c_float(node.real(n, DEFAULTS[node.op, n])) for n in names}
        unsigned = f"uint{max(dtype.itemsize * 8, 32)}_t"
        minus_one = f"b == -1 ? ({c_type(dtype)})(0 - ({unsigned})a) : " if dtype.kind == "i" else ""
        return text.format(**values, u=unsigned, minus_one=minus_one)
    raise Unsupported(f"{node.op} of {dtype.name} has no C kernel", "cast its input to float32")


def _fold(node: Node, graph: Graph, names: list[str], dtype: np.dtype[np.generic]) -> list[Step]:
    """Max, Min and Sum of any number of operands: nested expressions of two."""
    if node.quantized or len(names) > 8 or not names or (node.op == "Mean" and dtype.kind != "f"):
        raise Unsupported(f"{node.op} of {len(names)} tensors", "use several operators of two operands each")
    expression = "a"
    pair = _expression(node, dtype) if node.op != "Mean" else "a + b"
    for letter in "bcdefgh"[: len(names) - 1]:
        inner = f"({c_type(dtype)})({expression})"
        expression = pair.replace("a", "\0").replace("b", letter).replace("\0", inner)
    if node.op == "Mean":
        expression = f"({expression}) / {len(names)}.0f"
    return [elementwise(node, graph, names, expression, node.outputs[0])]


def lower_clip(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """Limits are attributes (opset < 11) or scalars, constant or not."""
    if node.quantized:
        return _table(node, graph)
    dtype = graph.value(node.inputs[0]).dtype
    names, expression = [node.inputs[0]], "a"
    for position, name, sign in ((1, "min", "<"), (2, "max", ">")):
        if node.has(position) and node.inputs[position] not in names:
            names.append(node.inputs[position])
            letter = "abc"[len(names) - 1]
        elif name in node.attributes and dtype == np.float32:
            letter = c_float(node.real(name, 0.0))
        else:
            continue
        kind = c_type(dtype)
        expression = f"({kind})({expression}) {sign} {letter} ? {letter} : ({kind})({expression})"
    return [elementwise(node, graph, names, expression, node.outputs[0])]


def lower_where(node: Node, graph: Graph, _effort: object) -> list[Step]:
    if len(set(node.inputs)) < 3:
        raise Unsupported("Where with the same tensor twice")
    return [elementwise(node, graph, list(node.inputs), "a != 0 ? b : c", node.outputs[0])]


def lower_not(node: Node, graph: Graph, _effort: object) -> list[Step]:
    return [elementwise(node, graph, [node.inputs[0]], "a == 0", node.outputs[0])]


def lower_cast(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """Numbers to numbers. Out of range float to integer is undefined in ONNX; here it saturates."""
    node.ignore("to", "saturate", "round_mode")  # the dtype is the result's; the rest is about 8-bit floats
    source, target = graph.value(node.inputs[0]).dtype, graph.value(node.outputs[0]).dtype
    if np.float16 in (source, target):
        return [elementwise(node, graph, [node.inputs[0]], _half(source, target), node.outputs[0])]
    if target == np.bool_:
        expression = "a != 0"
    elif source.kind == "f" and target.kind in "iu":
        if target.itemsize == 8 and target.kind == "u":
            raise Unsupported(f"Cast from {source} to {target} has no C kernel", "cast through int64")
        least, most = integer_limits(target)
        low, high = (c_literal(v, target) for v in (least, most))
        inside = f"a > {c_literal(least, source)} ? ({c_type(target)})a : {low}"
        expression = f"a != a ? 0 : a >= {c_literal(most, source)} ? {high} : {inside}"
    else:
        expression = "a"
    return [elementwise(node, graph, [node.inputs[0]], expression, node.outputs[0])]


def _half(source: np.dtype[np.generic], target: np.dtype[np.generic]) -> str:
    """From and to float16, which a C program holds as its bits: through float32."""
    if source == target:
        return "a"
    if source == np.float16 and target == np.float32:
        return "sprue_from_half(a)"
    if source == np.float32:
        return "sprue_to_half(a)"
    raise Unsupported(f"Cast from {source} to {target} has no C kernel", "cast through float32")


def _table(node: Node, graph: Graph) -> list[Step]:
    """A quantized operator of one operand: QuantizeLinear(f(DequantizeLinear(q))) for each of the 256 q."""
    quant, result = node.quants[0], node.result
    if result is None:
        raise Unsupported("a table needs a quantized result")  # `accepts` keeps this from happening
    values = _evaluate(node, codes(quant), graph)
    stored = quantized(values, result)
    return [table_call(graph, node.inputs[0], node.outputs[0], stored)]


def _evaluate(node: Node, values: Array, graph: Graph) -> Array:
    """The operator itself on float32 values, by ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    extra = {n: graph.constants[n] for n in node.inputs[1:] if n}
    names = ["x", *(n if n else "" for n in node.inputs[1:])]
    proto = helper.make_node(node.op, names, ["y"])
    proto.attribute.extend(helper.make_attribute(n, v) for n, v in node.attributes.items())
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_graph([proto], "table", inputs, [output])
    opset = [helper.make_opsetid("", graph.opset)]
    (result,) = ReferenceEvaluator(helper.make_model(made, opset_imports=opset)).run(
        None, {"x": values, **extra}
    )
    return np.asarray(result)


def accepts_clip(node: Node, graph: Graph) -> bool:
    constant = all(i in graph.constants for i in node.inputs[1:] if i)
    return set(node.quants) == {0} and node.result is not None and constant and accepts(node, graph)


def accepts_unary(node: Node, graph: Graph) -> bool:
    return node.result is not None and accepts(node, graph)


INTEGER = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), accepts),
    **dict.fromkeys(FLOAT_UNARY, accepts_unary),
    "Clip": accepts_clip,
}
OPERATORS = {
    **dict.fromkeys(
        {*FLOAT_UNARY, *FLOAT_BINARY, *INTEGER_UNARY, *INTEGER_BINARY, *COMPARISONS, *LOGICAL, "Mean"}
        - {"Add", "Sub"},  # in sums.py
        lower_elementwise,
    ),
    "Clip": lower_clip,
    "Where": lower_where,
    "Not": lower_not,
    "Cast": lower_cast,
    "CastLike": lower_cast,
}
