"""Steps by which a random graph grows: elementwise operators, comparisons, casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .growing import ALL, BOOLS, FLOATS, INTEGERS, NARROW, NUMBERS, Growing, Skip

Step = Callable[[Growing], None]

SMOOTH = (
    "Relu", "Sigmoid", "Tanh", "Abs", "Neg", "HardSwish", "HardSigmoid", "Elu", "Selu", "Celu", "LeakyRelu",
    "Softplus", "Softsign", "Erf", "Gelu", "Mish", "Sin", "Cos", "Atan", "Asinh", "Identity", "Swish",
)  # fmt: skip
POSITIVE = ("Log", "Sqrt", "Reciprocal")
BOUNDED = ("Acos", "Asin", "Atanh", "Tan", "Exp", "Sinh", "Cosh")
JUMPING = {"Floor": (0.0,), "Ceil": (0.0,), "Round": (0.5,)}
LARGEST_ANGLE = 20.0
LARGEST_DIVIDED = 8.0
"""The rest of a division has the rounding error of what is divided."""
ALPHA = ("Elu", "Celu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu", "Swish")


def smooth(g: Growing) -> None:
    op = g.one_of(SMOOTH)
    alpha = g.one_of((0.01, 0.3, 1.5)) if op in ALPHA and g.maybe() else None
    approximate = "tanh" if op == "Gelu" and g.maybe() else None
    x = g.pick()
    g.add(_of_angle(g, op, x), [x], alpha=alpha, approximate=approximate)


def _of_angle(g: Growing, op: str, x: str) -> str:
    """Of a large angle less is known than the tolerance: its own last digit turns it."""
    far = op in ("Sin", "Cos") and np.abs(g.values[x]).max(initial=0) > LARGEST_ANGLE
    return "Tanh" if far else op


def positive(g: Growing) -> None:
    (made,) = g.add("Abs", [g.pick()])
    op = g.one_of((*POSITIVE, "Acosh"))
    (made,) = g.add("Add", [made, g.constant(1.25 if op == "Acosh" else 0.25, "float32")])
    g.add(op, [made])


def bounded(g: Growing) -> None:
    x = g.pick()
    (made,) = g.add(_of_angle(g, "Sin", x), [x])
    (made,) = g.add("Mul", [made, g.constant(0.9, "float32")])
    g.add(g.one_of(BOUNDED), [made])


def jumping(g: Growing) -> None:
    x = g.pick()
    op = g.one_of([*JUMPING, "Sign", "ThresholdedRelu", "Shrink"])
    if op in JUMPING:
        g.far_from(x, *JUMPING[op], period=1.0)
        g.add(op, [x])
    elif op == "Sign":
        g.far_from(x, 0.0)
        g.add(op, [x])
    elif op == "ThresholdedRelu":
        g.far_from(x, 0.5)
        g.add(op, [x], alpha=0.5)
    else:
        g.far_from(x, 0.5, -0.5)
        g.add(op, [x], lambd=0.5, bias=g.one_of((0.0, 0.25)))


def beside(g: Growing, name: str) -> str:
    """An operand that broadcasts with it: of the same shape, a constant of some of its axes, or itself."""
    value = g.values[name]
    same = [n for n, v in g.values.items() if v.dtype == value.dtype and n not in g.constants]
    fits = [n for n in same if broadcasts(g.values[n].shape, value.shape)]
    if fits and g.maybe():
        return str(g.one_of(fits))
    kept = [d if g.maybe() else 1 for d in value.shape]
    kept = kept[g.choose(0, len(kept)) :]
    if g.maybe(8) and len(kept) == value.ndim:
        kept = [g.choose(1, 2), *kept]
    return g.constant(g.random(value.dtype.name, kept))


def broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


def either_way(g: Growing, a: str, b: str) -> list[str]:
    return [a, b] if g.maybe() else [b, a]


WIDE: dict[str, Callable[..., Any]] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}


def arithmetic(g: Growing) -> None:
    x = g.pick(NUMBERS if g.maybe(3) else FLOATS)
    g.add(g.one_of((*WIDE, "Max", "Min")), either_way(g, x, beside(g, x)))


def narrow_arithmetic(g: Growing) -> None:
    """Of 8 to 64 bits, where the result fits: what comes of an overflow is not defined."""
    x = g.pick(NARROW)
    op = g.one_of(
        (*WIDE, "Max", "Min", "Equal", "Less", "Greater", "Div", "BitwiseAnd", "BitwiseXor", "BitShift")
    )
    y = beside(g, x)
    if op == "BitShift":
        by = g.constant(np.full((), g.choose(0, 3)), g.values[x].dtype.name)
        g.add(op, [x, by], direction=g.one_of(("LEFT", "RIGHT")))
        return
    if op == "Div" and (y not in g.constants or not g.values[y].all()):
        raise Skip
    given = [x, y] if op == "Div" else either_way(g, x, y)
    if op in WIDE:
        exact = WIDE[op](*(g.values[n].astype(np.float64) for n in given))
        limits = np.iinfo(g.values[x].dtype)
        if exact.min() < limits.min or exact.max() > limits.max:
            raise Skip
    g.add(op, given)


def unary(g: Growing) -> None:
    x = g.pick((*INTEGERS, *NARROW))
    if g.values[x].dtype.kind == "u":
        g.add(g.one_of(("Identity", "Abs", "BitwiseNot", "Sign")), [x])
    else:
        g.add(g.one_of(("Abs", "Neg", "Sign", "Relu", "BitwiseNot")), [x])


def special(g: Growing) -> None:
    x = g.pick()
    if g.maybe():
        g.add("IsNaN", [x])
    else:
        ends = g.one_of(({}, {"detect_negative": 0}, {"detect_positive": 0}))
        g.add("IsInf", [x], **ends)


def several(g: Growing) -> None:
    x = g.pick()
    g.add(g.one_of(("Max", "Min", "Sum", "Mean")), [x, *(beside(g, x) for _ in range(g.choose(0, 2)))])


def division(g: Growing) -> None:
    x = g.pick(NUMBERS)
    dtype = g.values[x].dtype.name
    op = g.one_of(("Div", "Mod"))
    y = beside(g, x)
    if y not in g.constants:
        raise Skip
    data = g.values[y]
    nonzero = g.constant(np.where(np.abs(data) < 0.5, np.asarray(2, data.dtype), data))
    if op == "Mod" and dtype == "float32":
        if np.abs(g.values[x]).max() > LARGEST_DIVIDED:
            raise Skip
        g.far_from(x, 0.0)
        size = float(g.one_of((0.75, 1.5, 2.0)))
        g.far_from(x, 0.0, period=size)
        g.add(op, [x, g.constant(size, "float32")], fmod=1)
    else:
        g.add(op, [x, nonzero], fmod=1 if op == "Mod" and g.maybe() else None)


def power(g: Growing) -> None:
    if g.maybe():
        g.add("Pow", [g.pick(), g.constant(float(g.one_of((2, 3, 1))), "float32")])
        return
    (base,) = g.add("Abs", [g.pick()])
    (base,) = g.add("Add", [base, g.constant(0.25, "float32")])
    g.add("Pow", [base, g.constant(float(g.one_of((0.5, -1, 1.5, -0.5))), "float32")])


def clip(g: Growing) -> None:
    x = g.pick(NUMBERS)
    dtype = g.values[x].dtype.name
    low = g.constant(g.one_of((-2, -1, 0)), dtype) if g.maybe(4) or g.maybe() else ""
    high = g.constant(g.one_of((1, 3, 6)), dtype) if g.maybe() else ""
    g.add("Clip", [x, low, high] if high else [x, low] if low else [x])


def prelu(g: Growing) -> None:
    x = g.pick(rank=(2, 3, 4))
    shape = g.values[x].shape
    slope = g.one_of([(), (1,), shape[1:], (shape[1], *[1] * (len(shape) - 2))])
    g.add("PRelu", [x, g.constant(g.random("float32", slope, 0.5))])


def compare(g: Growing) -> None:
    x = g.pick(NUMBERS)
    y = beside(g, x)
    if not broadcasts(g.values[x].shape, g.values[y].shape):
        raise Skip
    g.apart(x, y)
    g.add(g.one_of(("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")), either_way(g, x, y))


def logical(g: Growing) -> None:
    if g.maybe(4):
        g.add("Not", [g.pick(BOOLS)])
        return
    x = g.pick(BOOLS)
    g.add(g.one_of(("And", "Or", "Xor", "Equal")), either_way(g, x, beside(g, x)))


def bits(g: Growing) -> None:
    x = g.pick(INTEGERS)
    op = g.one_of(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"))
    g.add(op, [x] if op == "BitwiseNot" else either_way(g, x, beside(g, x)))


def where(g: Growing) -> None:
    condition = g.pick(BOOLS)
    shape = g.values[condition].shape
    fits = [n for n, v in g.values.items() if broadcasts(v.shape, shape) and v.dtype.name in NUMBERS]
    if not fits:
        raise Skip
    x = g.one_of(fits)
    g.moved("Where", [condition, *either_way(g, x, beside(g, x))])


def cast(g: Growing) -> None:
    x = g.pick(ALL)
    to = g.one_of(ALL if g.maybe() else (*NUMBERS, *BOOLS))
    if to in NARROW and g.values[x].dtype == np.float32:  # other samples, too, are to lie in its range
        (x,) = g.add("Clip", [x, g.constant(0.0, "float32"), g.constant(100.0, "float32")])
    value = g.values[x]
    if value.dtype == np.float32 and to not in (*FLOATS, *BOOLS):
        g.far_from(x, 0.0, period=1.0)
    if value.dtype == np.float32 and to == "bool":
        g.far_from(x, 0.0)
    if to in (*INTEGERS, *NARROW) and value.dtype != np.bool_:
        limits = np.iinfo(to)
        if np.trunc(value).min() < limits.min or np.trunc(value).max() > limits.max:
            raise Skip
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(to))
    if g.opset >= 15 and g.maybe(4):
        g.moved("CastLike", [x, g.constant(np.zeros(1), to)])
    else:
        g.moved("Cast", [x], to=kind)


def halved(g: Growing) -> None:
    """float16 or float64 and back; of what has no rounding errors, which half a precision makes larger."""
    x = g.pick()
    if g.maybe() and x in g.sure and np.abs(g.values[x]).max() < 6e4:
        (made,) = g.moved("Cast", [x], to=TensorProto.FLOAT16)
    else:
        (made,) = g.moved("Cast", [x], to=TensorProto.DOUBLE)
        if g.maybe(6):
            (made,) = g.add(g.one_of(("Neg", "Abs", "Sqrt", "Exp")), [made])
    g.moved("Cast", [made], to=TensorProto.FLOAT)


STEPS: tuple[Step, ...] = (
    smooth, smooth, positive, bounded, jumping, arithmetic, arithmetic, several, division, power, clip, prelu,
    compare, logical, bits, where, cast, cast, narrow_arithmetic, unary, special, halved,
)  # fmt: skip
