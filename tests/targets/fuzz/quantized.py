"""Steps by which a random graph grows: QDQ pairs, and operators that take integers themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from .growing import Growing, Skip
from .layers import window
from .steps import Step, broadcasts

MARGIN_OF_STEPS = 5e-4
NARROW = ("int8", "int8", "int8", "uint8", "uint8", "int16", "uint16")
"""What QuantizeLinear makes; 16 bits since operator set 21."""


def _scale(value: Any, steps: int = 127) -> float:
    return max(float(np.abs(value).max()) / steps, 1e-4)


def _unsteady(steps: Any) -> bool:
    """Whether a rounding error could move one of the values by a step."""
    return bool(np.abs(steps - np.floor(steps) - 0.5).min() < MARGIN_OF_STEPS)


def fake_quantize(g: Growing, x: str, dtypes: tuple[str, ...] = NARROW) -> str:
    """QuantizeLinear and DequantizeLinear, where no rounding error moves a value by a step.

    Per tensor; now and then with a scale for each part of an axis.
    """
    value = g.values[x]
    dtype = g.one_of(dtypes)
    limits = np.iinfo(dtype)
    if limits.bits == 16 and g.opset < 21:
        raise Skip
    axis = g.choose(-value.ndim, value.ndim - 1) if value.ndim > 1 and g.maybe(10) else None
    scale: Any = np.float32(_scale(value, 127 if limits.bits == 8 else 4000))
    parts = wide = scale
    if axis is not None:
        others = tuple(i for i in range(value.ndim) if i != axis % value.ndim)
        wide = np.maximum(np.abs(value).max(axis=others, keepdims=True), 0.01).astype(np.float32)
        wide = wide / np.float32(g.one_of((127, 90)))
        parts = wide.ravel()
    if _unsteady(value.astype(np.float64) / wide) and x not in g.sure:
        raise Skip
    middle = 0 if limits.min < 0 else 2 ** (limits.bits - 1)
    zero = g.one_of((middle, middle, middle + 11, middle - 3, g.choose(limits.min, limits.max)))
    given = [g.constant(parts), g.constant(np.full(np.shape(parts), zero), dtype)]
    (stored,) = g.add("QuantizeLinear", [x, *given], axis=axis)
    if g.maybe(6) and axis is None:  # moved while it is stored
        stored = _moved(g, stored)
    (made,) = g.add("DequantizeLinear", [stored, *given], axis=axis)
    return made


def _moved(g: Growing, stored: str) -> str:
    shape = g.values[stored].shape
    kind = g.choose(0, 2)
    if kind == 0:
        return g.moved("Transpose", [stored], perm=[0, *range(len(shape) - 1, 0, -1)] if shape else None)[0]
    if kind == 1:
        return g.moved("Flatten", [stored], axis=min(1, len(shape)))[0]
    return g.moved("Reshape", [stored, g.integers([*shape[:1], -1])])[0]


def quantized_weight(g: Growing, *shape: int, axis: int = 0) -> str:
    """int8 or uint8 weights with one scale, or one for each channel."""
    data = g.random("float32", shape, 0.5)
    if g.maybe():
        others = tuple(i for i in range(len(shape)) if i != axis)
        scale = np.maximum(np.abs(data).max(axis=others), 0.01).astype(np.float32) / np.float32(127)
        wide = scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    else:
        scale = wide = np.float32(_scale(data))
    zero = g.one_of((0, 0, 0, 5, -20))
    dtype = "int8" if g.maybe(6) or g.maybe() or zero else "uint8"
    stored = np.clip(np.round(data / wide), -127, 127) + (128 if dtype == "uint8" else 0)
    stored = np.clip(stored + zero, *((0, 255) if dtype == "uint8" else (-128, 127)))
    zeros = np.full(np.shape(scale), zero + (128 if dtype == "uint8" else 0))
    given = [g.constant(scale, "float32"), g.constant(zeros, dtype)]
    named = axis - len(shape) if g.maybe(4) else axis
    (made,) = g.add(
        "DequantizeLinear", [g.constant(stored, dtype), *given], axis=named if np.ndim(scale) else None
    )
    return made


def weight_in_blocks(g: Growing) -> None:
    """A matrix of 4 or 8 bits with a scale for each block of a column: how language models are stored."""
    x = g.pick(rank=(2, 3))
    depth, n = g.values[x].shape[-1], g.choose(1, 5)
    block = g.one_of([d for d in range(1, depth + 1) if depth % d == 0])
    rng = np.random.default_rng(g.choose(0, 9999))
    stored = g.constant(rng.integers(-128, 128, (depth, n)), "int8")
    scale = g.constant(rng.uniform(0.002, 0.01, (depth // block, n)), "float32")
    (weight,) = g.add("DequantizeLinear", [stored, scale], axis=0, block_size=block)
    g.add("MatMul", [x, weight])


def quantized_bias(g: Growing, count: int, x: str, weight: str) -> list[str]:
    """int32 in steps of the input's scale times the weights': what integer kernels add as it is.

    Now and then the same in float32, which they round to such steps.
    """
    if g.maybe():
        return []
    makers = {o: n for n in g.nodes for o in n.output}
    scales = [g.constants[makers[name].input[1]] for name in (x, weight)]
    if scales[0].ndim:
        return []
    scale = np.broadcast_to(scales[0] * scales[1], (count,)).astype(np.float32)
    stored = np.round(g.random("float32", (count,), 0.5) / scale)
    if g.maybe(4):
        return [g.constant(stored * scale, "float32")]
    return g.add("DequantizeLinear", [g.constant(stored, "int32"), g.constant(scale)], axis=0)


EIGHT_BITS = ("int8", "int8", "uint8")


def quantized_layer(g: Growing) -> None:
    """A layer between QDQ pairs, as a quantized export has it."""
    x = fake_quantize(g, g.pick(rank=(2, 3, 4)), NARROW if g.maybe(6) else EIGHT_BITS)
    shape = g.values[x].shape
    kind = g.choose(0, 4)
    if len(shape) in (3, 4) and kind < 2:
        group = shape[1] if g.maybe(3) else g.one_of([d for d in (1, 1, 2) if shape[1] % d == 0])
        out = group * g.choose(1, 3)
        given = window(g, shape[2:], pool=False)
        weight = quantized_weight(g, out, shape[1] // group, *given["kernel_shape"])
        bias = quantized_bias(g, out, x, weight)
        (y,) = g.add("Conv", [x, weight, *bias], group=group, **given)
    elif len(shape) == 4 and kind == 2:
        y = _pooled(g, x)
    elif len(shape) == 2 and kind < 3:
        out = g.choose(1, 5)
        weight = quantized_weight(g, out, shape[1])
        (y,) = g.add("Gemm", [x, weight, *quantized_bias(g, out, x, weight)], transB=1)
    elif kind == 3:
        y = _joined(g, x)
    else:
        y = g.add("MatMul", [x, quantized_weight(g, shape[-1], g.choose(1, 4), axis=1)])[0]
    if g.maybe(3):
        (y,) = g.add(g.one_of(("Relu", "Sigmoid", "Clip", "HardSwish", "LeakyRelu", "Softmax")), [y])
    if g.maybe() or g.maybe():
        fake_quantize(g, y, EIGHT_BITS)


def _pooled(g: Growing, x: str) -> str:
    kind = g.choose(0, 3)
    if kind == 0:
        return g.add("GlobalAveragePool", [x])[0]
    if kind == 1:
        return g.add("ReduceMean", [x, g.integers([2, 3])], keepdims=g.choose(0, 1))[0]
    op = g.one_of(("MaxPool", "AveragePool"))
    return g.add(op, [x], **window(g, g.values[x].shape[2:], pool=True))[0]


def _joined(g: Growing, x: str) -> str:
    """With another dequantized tensor, or itself: each has its own scale."""
    made = [n.output[0] for n in g.nodes if n.op_type == "DequantizeLinear" and n.output[0] not in (x,)]
    op = g.one_of(("Add", "Mul", "Sub", "Concat", "Concat", "MatMul"))
    if op == "Concat":
        fits = [n for n in made if g.values[n].shape == g.values[x].shape]
        return g.add(op, [x, g.one_of(fits) if fits else x], axis=-1)[0]
    if op == "MatMul":
        perm = [*range(g.values[x].ndim - 2), g.values[x].ndim - 1, g.values[x].ndim - 2]
        (turned,) = g.moved("Transpose", [x], perm=perm)
        return g.add(op, [x, turned])[0]
    fits = [n for n in made if broadcasts(g.values[n].shape, g.values[x].shape)]
    return g.add(op, [x, g.one_of(fits) if fits else x])[0]


def quantized_table(g: Growing) -> None:
    """An embedding stored as int8: unpacked before the Gather or behind it."""
    indices = g.pick(("int64", "int32"), rank=(0, 1, 2))
    rows, width = g.choose(2, 6), g.choose(1, 5)
    (inside,) = g.add("Mod", [indices, g.constant(rows, g.values[indices].dtype.name)])
    table = np.random.default_rng(g.choose(0, 999)).integers(-128, 128, (rows, width))
    stored, given = g.constant(table, "int8"), [g.constant(0.02, "float32"), g.constant(3, "int8")]
    if g.maybe():
        (found,) = g.moved("Gather", [stored, inside], axis=0)
        g.add("DequantizeLinear", [found, *given])
    else:
        (table_of,) = g.add("DequantizeLinear", [stored, *given])
        g.add("Gather", [table_of, inside], axis=0)


def integer_operator(g: Growing) -> None:
    """A layer that takes and gives integers itself, as quantizers write it in their other format."""
    x = fake_quantize(g, g.pick(rank=(2, 3, 4)), EIGHT_BITS)
    node = next(n for n in g.nodes if x in n.output)
    stored, scale, zero = node.input
    if g.values[scale].ndim:
        raise Skip
    shape, out = g.values[x].shape, g.choose(1, 4)
    each = g.maybe()
    steps = g.constant(np.full(out if each else (), 0.02), "float32")
    zeros = g.constant(np.full(out if each else (), 0 if each else g.one_of((0, 0, -3))), "int8")
    result = [g.constant(g.one_of((0.01, 0.05, 0.3)), "float32"), zero]
    rng = np.random.default_rng(g.choose(0, 9999))
    if len(shape) == 4:
        given = window(g, shape[2:], pool=False)
        if g.maybe(4):
            whole = g.constant(rng.integers(-9, 10, (out, shape[1], *given["kernel_shape"])), "int8")
            (sums,) = g.add("ConvInteger", [stored, whole, zero][: 2 + g.choose(0, 1)], **given)
            g.add("Cast", [sums], to=1)
            return
        group = g.one_of([d for d in (1, 1, 2) if shape[1] % d == 0 and out % d == 0])
        kernel = rng.integers(-127, 128, (out, shape[1] // group, *given["kernel_shape"]))
        bias = [] if g.maybe() else [g.constant(rng.integers(-900, 900, out), "int32")]
        inputs = [stored, scale, zero, g.constant(kernel, "int8"), steps, zeros, *result, *bias]
        (y,) = g.add("QLinearConv", inputs, group=group, **given)
    else:
        matrix = g.constant(rng.integers(-127, 128, (shape[-1], out)), "int8")
        if g.maybe():
            (sums,) = g.add("MatMulInteger", [stored, matrix, zero, zeros])
            (real,) = g.add("Cast", [sums], to=1)
            g.add("Mul", [real, g.constant(1e-3, "float32")])
            return
        (y,) = g.add("QLinearMatMul", [stored, scale, zero, matrix, steps, zeros, *result])
    g.add("DequantizeLinear", [y, *result])


def dynamic(g: Growing) -> None:
    """A linear layer whose input is quantized while it runs, as `quantize_dynamic` writes it."""
    x = g.pick(rank=(2, 3))
    value = g.values[x].astype(np.float64)
    low, high = min(value.min(), 0.0), max(value.max(), 0.0)
    if high - low < 0.1:
        raise Skip
    scale = (high - low) / 255
    if x not in g.sure and (_unsteady(value / scale) or _unsteady(np.asarray(-low / scale))):
        raise Skip
    stored, step, zero = g.add("DynamicQuantizeLinear", [x], 3)
    n = g.choose(1, 4)
    matrix = np.random.default_rng(g.choose(0, 999)).integers(-127, 128, (value.shape[-1], n))
    weight = g.constant(matrix, g.one_of(("int8", "int8", "uint8")) if matrix.min() >= 0 else "int8")
    (sums,) = g.add("MatMulInteger", [stored, weight, zero])
    (real,) = g.add("Cast", [sums], to=1)
    (both,) = g.add("Mul", [step, g.constant(0.01, "float32")])
    g.add("Mul", [real, both])


STEPS: tuple[Step, ...] = (
    quantized_layer, quantized_layer, quantized_layer, integer_operator, dynamic, quantized_table,
    weight_in_blocks,
)  # fmt: skip
