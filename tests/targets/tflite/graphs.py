"""Random valid ONNX graphs for the fuzz test: a pool of values, and steps that each add one node to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, helper

from .build import Arrays, model, weight

Shape = tuple[int, ...]


@dataclass
class Pool:
    """What a graph has so far. Values are float32."""

    draw: Callable[[st.SearchStrategy[int]], int]
    shapes: dict[str, Shape]
    nodes: list[NodeProto] = field(default_factory=list)
    weights: Arrays = field(default_factory=dict)

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def value(self, rank: int | None = None) -> str:
        """One of the latest values of this rank. Raises LookupError when there is none."""
        names = [n for n, s in self.shapes.items() if rank in (None, len(s))]
        if not names:
            raise LookupError(rank)
        return names[max(0, len(names) - 1 - self.integer(0, min(len(names) - 1, 3)))]

    def constant(self, *shape: int, positive: bool = False) -> str:
        name = f"w{len(self.weights)}"
        data = weight(self.integer(0, 99), *shape)
        self.weights[name] = np.abs(data) + np.float32(0.5) if positive else data
        return name

    def integers(self, values: list[int]) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(values, np.int64)
        return name

    def add(self, op: str, inputs: list[str], shape: Shape, **attributes: Any) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.shapes[name] = shape


def unary(p: Pool) -> None:
    names = [
        "Relu",
        "Sigmoid",
        "Tanh",
        "Abs",
        "Neg",
        "HardSwish",
        "Elu",
        "LeakyRelu",
        "Softplus",
        "Floor",
        "Erf",
    ]
    x = p.value()
    p.add(names[p.integer(0, len(names) - 1)], [x], p.shapes[x])


def binary(p: Pool) -> None:
    op = ["Add", "Sub", "Mul", "Max", "Min"][p.integer(0, 4)]
    x = p.value()
    shape = p.shapes[x]
    kind = p.integer(0, 2)
    if kind == 0:  # another value of this shape
        others = [n for n, s in p.shapes.items() if s == shape]
        p.add(op, [x, others[p.integer(0, len(others) - 1)]], shape)
        return
    kept = [d if p.integer(0, 1) else 1 for d in shape]
    other = p.constant(*kept[p.integer(0, max(len(kept) - 1, 0)) :])
    p.add(op, [x, other] if kind == 1 else [other, x], shape)


def clip(p: Pool) -> None:
    x = p.value()
    low, high = p.integers([0]), p.integers([0])
    p.weights[low] = np.array([-1.0, 0.0, -0.5][p.integer(0, 2)], np.float32)
    p.weights[high] = np.array([1.0, 6.0, 0.7][p.integer(0, 2)], np.float32)
    p.add("Clip", [x, low, high], p.shapes[x])


def conv(p: Pool) -> None:
    x = p.value(4)
    n, c, h, w = p.shapes[x]
    k, stride, dilation = p.integer(1, 3), p.integer(1, 2), p.integer(1, 2)
    groups = [g for g in (1, 2, c) if c % g == 0]
    group = groups[p.integer(0, len(groups) - 1)]
    out = group * p.integer(1, 3)
    pads = [p.integer(0, 2) for _ in range(4)]
    extent = (k - 1) * dilation + 1
    size = [(d + pads[i] + pads[i + 2] - extent) // stride + 1 for i, d in enumerate((h, w))]
    if min(size) < 1 or (stride > 1 and dilation > 1):
        raise LookupError
    inputs = [x, p.constant(out, c // group, k, k)] + ([p.constant(out)] if p.integer(0, 1) else [])
    options = {"pads": pads, "strides": [stride] * 2, "dilations": [dilation] * 2, "group": group}
    p.add("Conv", inputs, (n, out, *size), **options)


def pool(p: Pool) -> None:
    x = p.value(4)
    n, c, h, w = p.shapes[x]
    k, stride = p.integer(1, 3), p.integer(1, 3)
    pads = [p.integer(0, k - 1) for _ in range(4)]
    size = [(d + pads[i] + pads[i + 2] - k) // stride + 1 for i, d in enumerate((h, w))]
    if min(size) < 1:
        raise LookupError
    options: dict[str, object] = {"pads": pads, "strides": [stride] * 2, "kernel_shape": [k, k]}
    op = ["MaxPool", "AveragePool"][p.integer(0, 1)]
    if op == "AveragePool":
        options["count_include_pad"] = p.integer(0, 1)
    p.add(op, [x], (n, c, *size), **options)


def norm(p: Pool) -> None:
    x = p.value(4)
    c = p.shapes[x][1]
    given = [p.constant(c), p.constant(c), p.constant(c), p.constant(c, positive=True)]
    p.add("BatchNormalization", [x, *given], p.shapes[x])


def transpose(p: Pool) -> None:
    x = p.value()
    shape = p.shapes[x]
    perm = list(range(len(shape)))
    for i in range(len(perm) - 1, 0, -1):
        k = p.integer(0, i)
        perm[i], perm[k] = perm[k], perm[i]
    p.add("Transpose", [x], tuple(shape[i] for i in perm), perm=perm)


def flatten(p: Pool) -> None:
    x = p.value()
    shape = p.shapes[x]
    axis = p.integer(0, len(shape))
    rows = int(np.prod(shape[:axis]))
    p.add("Flatten", [x], (rows, int(np.prod(shape)) // rows), axis=axis)


def matmul(p: Pool) -> None:
    x = p.value()
    shape = p.shapes[x]
    out = p.integer(1, 5)
    p.add("MatMul", [x, p.constant(shape[-1], out)], (*shape[:-1], out))


def dense(p: Pool) -> None:
    """A classifier behind an image, as convolutional networks end."""
    x = p.value(4)
    n, *rest = p.shapes[x]
    p.add("Flatten", [x], (n, int(np.prod(rest))))
    out = p.integer(1, 5)
    flat = f"v{len(p.nodes) - 1}"
    p.add("Gemm", [flat, p.constant(out, int(np.prod(rest))), p.constant(out)], (n, out), transB=1)


def reduce(p: Pool) -> None:
    x = p.value()
    shape = p.shapes[x]
    axes = [i for i in range(len(shape)) if p.integer(0, 1)] or [0]
    keep = p.integer(0, 1)
    kept = tuple(1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes)
    if not kept:
        raise LookupError
    op = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"][p.integer(0, 3)]
    p.add(op, [x], kept, axes=axes, keepdims=keep)


def softmax(p: Pool) -> None:
    x = p.value()
    op = ["Softmax", "LogSoftmax"][p.integer(0, 1)]
    p.add(op, [x], p.shapes[x], axis=p.integer(0, len(p.shapes[x]) - 1))


def concat(p: Pool) -> None:
    x = p.value()
    shape = list(p.shapes[x])
    axis = p.integer(0, len(shape) - 1)
    like = [n for n, s in p.shapes.items() if len(s) == len(shape)]
    fits = [
        n
        for n in like
        if all(a == b for i, (a, b) in enumerate(zip(p.shapes[n], shape, strict=True)) if i != axis)
    ]
    other = fits[p.integer(0, len(fits) - 1)]
    shape[axis] += p.shapes[other][axis]
    p.add("Concat", [x, other], tuple(shape), axis=axis)


def cut(p: Pool) -> None:
    x = p.value()
    shape = list(p.shapes[x])
    axis = p.integer(0, len(shape) - 1)
    step = [1, 2, -1, -2][p.integer(0, 3)]
    a, b = sorted((p.integer(0, shape[axis]), p.integer(0, shape[axis])))
    start, end = (a, b) if step > 0 else (b - 1, a - 1 if a else -(2**40))
    shape[axis] = -(-(b - a) // abs(step))
    if b <= a:
        raise LookupError
    given = [p.integers([v]) for v in (start, end, axis, step)]
    p.add("Slice", [x, *given], tuple(shape))


def pad(p: Pool) -> None:
    x = p.value()
    shape = p.shapes[x]
    amounts = [p.integer(0, 2) for _ in range(2 * len(shape))]
    mode = ["constant", "edge"][p.integer(0, 1)]
    made = tuple(d + amounts[i] + amounts[i + len(shape)] for i, d in enumerate(shape))
    p.add("Pad", [x, p.integers(amounts)], made, mode=mode)


STEPS = (
    unary,
    binary,
    clip,
    conv,
    pool,
    norm,
    transpose,
    flatten,
    matmul,
    dense,
    reduce,
    softmax,
    concat,
    cut,
    pad,
)
MAX_ELEMENTS = 20_000


@st.composite
def graphs(draw: st.DrawFn) -> tuple[ModelProto, Arrays]:
    """A model of one input and up to nine nodes, and samples for it; the last two values are outputs."""
    shape = draw(st.sampled_from([(1, 3, 6, 5), (1, 4, 4, 4), (1, 7), (1, 5, 6), (2, 2, 3, 3)]))
    made = Pool(draw, {"x": shape})
    for _ in range(draw(st.integers(1, 9))):
        try:
            draw(st.sampled_from(STEPS))(made)
        except LookupError:
            continue
        if int(np.prod(list(made.shapes.values())[-1])) > MAX_ELEMENTS:
            break
    if not made.nodes:
        made.add("Relu", ["x"], shape)
    outputs = [n.output[0] for n in made.nodes[-2:]]
    source = model(made.nodes, {"x": shape}, outputs, made.weights)
    return source, {"x": weight(draw(st.integers(0, 99)), *shape) * np.float32(4)}
