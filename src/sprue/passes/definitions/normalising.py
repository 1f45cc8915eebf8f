"""Normalizations that ONNX defines in words: of training, of groups, over channels, by a norm."""

from __future__ import annotations

import math

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer


def batch_normalization(w: Writer) -> None:
    """In training mode: by the batch's own statistics, with the running ones as further results."""
    if not w.integer("training_mode", 0):
        raise NotDefined
    shape = w.shape()
    axes = [a for a in range(len(shape)) if a != 1]
    wide = [1, shape[1], *[1] * (len(shape) - 2)]
    momentum = w.real("momentum", 0.9)
    mean = w.reduce("ReduceMean", w.x(), axes, keep=True)
    centred = w.op("Sub", w.x(), mean)
    variance = w.reduce("ReduceMean", w.op("Mul", centred, centred), axes, keep=True)
    deviation = w.op("Sqrt", w.op("Add", variance, w.like(w.real("epsilon", 1e-5))))
    scaled = w.op("Mul", w.op("Div", centred, deviation), w.reshape(w.x(1), wide))
    w.result(w.op("Add", scaled, w.reshape(w.x(2), wide)))
    for position, (running, now) in enumerate(((w.x(3), mean), (w.x(4), variance)), 1):
        kept = w.op("Mul", running, w.like(momentum))
        new = w.op("Mul", w.reshape(now, [shape[1]]), w.like(1 - momentum))
        w.result(w.op("Add", kept, new), position)


def group_normalization(w: Writer) -> None:
    """Before opset 21 scale and bias are of the groups."""
    if w.opset >= 21:
        raise NotDefined
    shape = w.shape()
    groups = w.integer("num_groups", 1)
    rows = w.reshape(w.x(), [shape[0], groups, -1])
    mean = w.reduce("ReduceMean", rows, [2], keep=True)
    centred = w.op("Sub", rows, mean)
    variance = w.reduce("ReduceMean", w.op("Mul", centred, centred), [2], keep=True)
    deviation = w.op("Sqrt", w.op("Add", variance, w.like(w.real("epsilon", 1e-5))))
    scale, bias = (w.reshape(w.x(i), [1, groups, 1]) for i in (1, 2))
    scaled = w.op("Mul", w.op("Div", centred, deviation), scale)
    w.result(w.reshape(w.op("Add", scaled, bias), shape))


def lrn(w: Writer) -> None:
    """x / (bias + alpha / size * sum of squares of the neighbouring channels)^beta."""
    shape, size = w.shape(), w.integer("size", 1)
    squares = w.reshape(w.op("Mul", w.x(), w.x()), [shape[0], 1, shape[1], math.prod(shape[2:])])
    before, after = (size - 1) // 2, size // 2
    mean = w.op(
        "AveragePool", squares, kernel_shape=[size, 1], pads=[before, 0, after, 0], count_include_pad=1
    )
    sums = w.op("Mul", w.reshape(mean, shape), w.like(w.real("alpha", 1e-4)))
    base = w.op("Add", sums, w.like(w.real("bias", 1.0)))
    w.result(w.op("Div", w.x(), w.op("Pow", base, w.like(w.real("beta", 0.75)))))


def lp_normalization(w: Writer) -> None:
    """x by its norm; zeros stay zeros. For p = 1 the norm is as the reference has it, of absolute values."""
    p = w.integer("p", 2)
    if p not in (1, 2):
        raise NotDefined
    norm = w.reduce(f"ReduceL{p}", w.x(), [w.integer("axis", -1) % len(w.shape())], keep=True)
    safe = w.op("Where", w.op("Equal", norm, w.like(0)), w.like(1), norm)
    w.result(w.op("Div", w.x(), safe))


def hardmax(w: Writer) -> None:
    """1 at the first of the largest, 0 elsewhere; before opset 13 of all axes from `axis` on."""
    shape = w.shape()
    axis = w.integer("axis", 1 if w.opset < 13 else -1) % len(shape)
    value, count, wide = w.x(), shape[axis], [-1, *[1] * (len(shape) - 1 - axis)]
    if w.opset < 13:
        count = math.prod(shape[axis:])
        value, axis, wide = w.reshape(value, [math.prod(shape[:axis]), count]), 1, [-1]
    most = w.op("ArgMax", value, axis=axis, keepdims=1)
    places = w.constant(np.arange(count).reshape(wide), np.int64)
    made = w.cast(w.op("Equal", most, places), w.dtype())
    w.result(w.reshape(made, shape))


DEFINITIONS = {
    "Hardmax": hardmax,
    "LRN": lrn,
    "LpNormalization": lp_normalization,
}
FORMS = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
}
