"""Operators that move elements: one strided copy each, in as few loops as it takes.

Transpose walks its input in another order, Slice begins elsewhere, Expand does not advance, Concat and Split
copy part by part, Pad fills the result first.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels.nest import broadcast, contiguous, index, loops
from ..literals import c_literal, c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Value, Write
from ..tables import requantized
from .shape import lower_alias


def copy(
    value: Value, source: str, output: str, shape: tuple[int, ...],
    strides: tuple[tuple[int, ...], tuple[int, ...]], starts: tuple[int, int] = (0, 0),
    fill: dict[str, object] | None = None,
) -> Call:  # fmt: skip
    """Copy a box of `shape`: `strides` and `starts` (in elements) of source and output."""
    nest = loops(shape, strides)
    params = {
        "type": c_type(value.dtype),
        "nest": nest,
        "source": index(nest, 0, starts[0]),
        "target": index(nest, 1, starts[1]),
        "fill": fill,
    }
    return Call("copy.c.j2", params, (Read(source), Write(output)))


def lower_transpose(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    order = node.integers("perm", tuple(reversed(range(len(x.shape)))))
    if sorted(order) != list(range(len(x.shape))):
        raise Unsupported(f"Transpose of {len(x.shape)} axes by {list(order)}", "export the model again")
    moving = [axis for axis in order if x.shape[axis] != 1]
    if moving == sorted(moving):  # only axes of size 1 change places
        return lower_alias(node, graph, _effort)
    steps = contiguous(x.shape)
    moved = tuple(steps[axis] for axis in order)
    call = copy(x, node.inputs[0], node.outputs[0], y.shape, (moved, contiguous(y.shape)))
    return [call, *requantized(node, graph)]


def lower_expand(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    return [
        copy(x, node.inputs[0], node.outputs[0], y.shape, (broadcast(x.shape, y.shape), contiguous(y.shape)))
    ]


def lower_tile(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """Each axis as two: which repetition, and where in it."""
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    steps, targets = contiguous(x.shape), contiguous(y.shape)
    shape: list[int] = []
    source: list[int] = []
    target: list[int] = []
    for size, whole, step, to in zip(x.shape, y.shape, steps, targets, strict=True):
        shape += [whole // max(size, 1), size]
        source += [0, step]
        target += [size * to, to]
    return [copy(x, node.inputs[0], node.outputs[0], tuple(shape), (tuple(source), tuple(target)))]


def lower_slice(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    rank = len(x.shape)
    if "starts" in node.attributes:
        starts = node.integers("starts", ())
        axes = node.integers("axes", tuple(range(len(starts))))
        steps: tuple[int, ...] = (1,) * len(starts)
    else:
        starts = tuple(int(v) for v in graph.constant(node, 1, "starts").ravel().tolist())
        default = range(len(starts))
        axes = tuple(graph.constant(node, 3, "axes").ravel().tolist()) if node.has(3) else tuple(default)
        steps = (
            tuple(graph.constant(node, 4, "steps").ravel().tolist()) if node.has(4) else (1,) * len(starts)
        )
        graph.constant(node, 2, "ends")
    strides, first = list(contiguous(x.shape)), 0
    for start, axis, step in zip(starts, axes, steps, strict=True):
        size = x.shape[axis % rank]
        begin = max(start + size, 0) if start < 0 else start
        begin = min(begin, size - 1 if step < 0 else size)
        first += begin * strides[axis % rank]
        strides[axis % rank] *= step
    if y.size == 0:
        first = 0
    call = copy(
        x, node.inputs[0], node.outputs[0], y.shape, (tuple(strides), contiguous(y.shape)), (first, 0)
    )
    return [call, *requantized(node, graph)]


def lower_concat(node: Node, graph: Graph, _effort: object) -> list[Step]:
    y = graph.value(node.outputs[0])
    axis = node.integer("axis", 0) % len(y.shape)
    target = contiguous(y.shape)
    calls: list[Step] = []
    start = 0
    for name in node.inputs:
        x = graph.value(name)
        if x.size:
            strides = (contiguous(x.shape), target)
            calls.append(copy(x, name, node.outputs[0], x.shape, strides, (0, start * target[axis])))
        start += x.shape[axis]
    if not calls:
        raise Unsupported("Concat of empty tensors only")
    return calls


def lower_split(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x = graph.value(node.inputs[0])
    axis = node.integer("axis", 0) % len(x.shape)
    strides = contiguous(x.shape)
    calls: list[Step] = []
    if node.has(1):
        graph.constant(node, 1, "split")
    sizes = _split_sizes(node, graph, x.shape[axis])
    start = 0
    for name, size in zip(node.outputs, sizes, strict=True):
        if name:
            y = graph.value(name)
            first = start * strides[axis] if y.size else 0
            calls.append(copy(x, node.inputs[0], name, y.shape, (strides, contiguous(y.shape)), (first, 0)))
        start += size
    return calls


def _split_sizes(node: Node, graph: Graph, whole: int) -> list[int]:
    if node.has(1):
        return [int(v) for v in graph.constant(node, 1, "split").ravel().tolist()]
    if "split" in node.attributes:
        return list(node.integers("split", ()))
    count = node.integer("num_outputs", len(node.outputs))
    size = -(-whole // count)
    return [min(size, max(whole - size * i, 0)) for i in range(count)]


def lower_pad(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if node.text("mode", "constant") != "constant":
        raise Unsupported(f"Pad in mode '{node.text('mode', '')}'", "pad with a constant")
    if "pads" in node.attributes:
        pads = list(node.integers("pads", ()))
    else:
        given = [int(v) for v in graph.constant(node, 1, "pads").ravel().tolist()]
        axes = graph.constant(node, 3, "axes").ravel().tolist() if node.has(3) else list(range(len(x.shape)))
        pads = [0] * 2 * len(x.shape)
        for i, axis in enumerate(axes):
            pads[axis % len(x.shape)] = given[i]
            pads[axis % len(x.shape) + len(x.shape)] = given[i + len(axes)]
    if min(pads, default=0) < 0:
        raise Unsupported("Pad by a negative number", "crop with Slice")
    target = contiguous(y.shape)
    start = sum(pads[axis] * target[axis] for axis in range(len(x.shape)))
    fill = {"count": y.size, "value": _pad_value(node, graph, x)}
    call = copy(x, node.inputs[0], node.outputs[0], x.shape, (contiguous(x.shape), target), (0, start), fill)
    return [call, *requantized(node, graph)]


def _pad_value(node: Node, graph: Graph, x: Value) -> str:
    value: float = node.real("value", 0.0)
    if node.has(2):
        value = graph.constant(node, 2, "pad value").ravel().tolist()[0]
    quant = node.quants.get(0)
    if quant is not None:
        value = float(np.clip(np.rint(np.float32(value) / quant.scale) + quant.zero, quant.low, quant.high))
    return c_literal(value, x.dtype)


def lower_depth_to_space(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    n, c, h, w = x.shape
    b = node.integer("blocksize", 1)
    mode = node.text("mode", "DCR")
    if mode not in ("DCR", "CRD") or (node.op == "SpaceToDepth" and mode != "DCR"):
        raise Unsupported(f"{node.op} in mode '{mode}'", "use mode DCR")
    if node.op == "SpaceToDepth":
        split = (n, c, h // b, b, w // b, b)
        order = (0, 3, 5, 1, 2, 4)
    elif mode == "DCR":
        split = (n, b, b, c // b // b, h, w)
        order = (0, 3, 4, 1, 5, 2)
    else:
        split = (n, c // b // b, b, b, h, w)
        order = (0, 1, 4, 2, 5, 3)
    steps = contiguous(split)
    shape = tuple(split[axis] for axis in order)
    strides = tuple(steps[axis] for axis in order)
    if math.prod(shape) != y.size:
        raise Unsupported(f"{node.op} of this shape")
    return [copy(x, node.inputs[0], node.outputs[0], shape, (strides, contiguous(shape)))]


def accepts(node: Node, graph: Graph) -> bool:
    """One 8-bit tensor in, one of the same type out; scales may differ."""
    quant, result = node.quants.get(0), node.result
    if quant is None or result is None or set(node.quants) != {0}:
        return False
    return quant.per_tensor and quant.dtype.itemsize == 1 and quant.dtype == result.dtype


def accepts_pad(node: Node, graph: Graph) -> bool:
    """As above; the value must be a code of the input exactly, or the table could not tell it."""
    if not accepts(node, graph):
        return False
    if not node.has(2):
        value = node.real("value", 0.0)
    elif node.inputs[2] in graph.constants:
        value = float(graph.constants[node.inputs[2]].ravel().tolist()[0])
    else:
        return False
    quant = node.quants[0]
    code = np.rint(np.float32(value) / quant.scale) + quant.zero
    exact = np.float32((code - quant.zero) * quant.scale) == np.float32(value)
    return bool(exact and quant.low <= code <= quant.high)


def accepts_concat(node: Node, graph: Graph) -> bool:
    """All inputs in the scale of the result."""
    result = node.result
    if result is None or set(node.quants) != set(range(len(node.inputs))):
        return False
    return result.dtype.itemsize == 1 and all(q.per_tensor and q.same(result) for q in node.quants.values())


INTEGER = {"Transpose": accepts, "Slice": accepts, "Pad": accepts_pad, "Concat": accepts_concat}
OPERATORS = {
    "Transpose": lower_transpose,
    "Expand": lower_expand,
    "Tile": lower_tile,
    "Slice": lower_slice,
    "Concat": lower_concat,
    "Split": lower_split,
    "Pad": lower_pad,
    "DepthToSpace": lower_depth_to_space,
    "SpaceToDepth": lower_depth_to_space,
}
