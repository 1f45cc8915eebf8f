"""Concat, Split, Slice, Pad: cutting and joining along axes."""

from __future__ import annotations

import numpy as np

from ..emit import Shape, Tensor, Unsupported
from ..layout import Graph, Laid, identity
from ..registry import Node, computable, lowers
from .indexing import narrowed

JOINED = frozenset({"float32", "float16", "int8", "uint8", "int16", "int32", "uint32", "int64", "bool"})
"""What CONCATENATION knows."""
PADDED = frozenset({"float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "int64", "bool"})
"""What PAD, PADV2, MIRROR_PAD and GATHER know."""
SPLIT = frozenset({"float32", "int8", "uint8", "int16", "int32", "int64"})


@lowers("Concat")
def concat(g: Graph, node: Node) -> Laid:
    tensors, perm = g.alike(node.present())
    dtype = tensors[0].dtype
    wide = computable(dtype, JOINED)
    return g.cast(g.concat([g.cast(t, wide) for t in tensors], perm.index(node.axis(0))), dtype), perm


@lowers("Split")
def split(g: Graph, node: Node) -> list[Laid]:
    """The sizes are those of the outputs."""
    value = node.input(0)
    perm, x = g.held(value)
    axis = node.axis(0)
    place = perm.index(axis)
    sizes = [o.shape[axis] for o in node.outputs]
    x = g.cast(x, computable(x.dtype, SPLIT))
    shapes = [(tuple(o.shape[p] for p in perm), x.dtype) for o in node.outputs]
    at = g.constant(place, np.int32)
    if len(set(sizes)) == 1:
        made = g.ops("SPLIT", [at, x], shapes, numSplits=len(sizes))
    else:
        made = g.ops("SPLIT_V", [x, g.constant(sizes, np.int32), at], shapes, numSplits=len(sizes))
    return [(g.cast(tensor, value.dtype), perm) for tensor in made]


@lowers("Slice")
def slice_(g: Graph, node: Node) -> Laid:
    value = node.input(0)
    if node.opset >= 10 and any(v.const is None for v in node.present()[1:]):
        return _sliced_at_run_time(g, node), identity(value.rank)
    perm, x = g.held(value)
    begin, step = [0] * value.rank, [1] * value.rank
    for axis, start, stride in _bounds(node):
        begin[axis], step[axis] = start, stride
    out = node.outputs[0].shape
    shape = tuple(out[p] for p in perm)
    if all(s == 1 for s in step):
        return _sliced(g, x, [begin[p] for p in perm], shape), perm
    if x.rank > 5:
        raise Unsupported(f"a strided slice of {x.rank} axes; TFLite has 5", "reshape before it")
    end = [b + s * size for b, s, size in zip(begin, step, out, strict=True)]
    low = sum(1 << i for i, p in enumerate(perm) if end[p] < 0)  # "before the first", which -1 does not mean
    places = [g.constant([v[p] for p in perm], np.int32) for v in (begin, end, step)]
    return g.op("STRIDED_SLICE", [x, *places], shape, x.dtype, endMask=low), perm


def _sliced_at_run_time(g: Graph, node: Node) -> Tensor:
    """STRIDED_SLICE takes its bounds as inputs, one for each axis: those that ONNX leaves out are filled in.

    A bound beyond int32 means "to the end", and an end before the first element of a backwards slice has no
    number in TFLite: only forward slices are taken.
    """
    value, out = node.input(0), node.outputs[0]
    rank = value.rank
    given = node.optional_constant(4, "the step of the slice")
    if given is not None and (given < 1).any():
        raise Unsupported(
            "a backwards slice whose bounds are computed while the model runs", "make them constant"
        )
    axes = node.optional_constant(3, "the axes of the slice")
    count = node.input(1).shape[0]
    places = [int(a) % rank for a in axes] if axes is not None else list(range(count))
    limit = np.iinfo(np.int32).max
    bounds = []
    for index, missing in ((1, [0] * rank), (2, [limit] * rank)):
        narrow = narrowed(g, g.tensor(node.input(index)))
        parts = [
            g.slice(narrow, [places.index(i)], [1]) if i in places else g.constant([missing[i]], np.int32)
            for i in range(rank)
        ]
        bounds.append(g.concat(parts, 0))
    steps = [int(given[places.index(i)]) if given is not None and i in places else 1 for i in range(rank)]
    x = g.tensor(value)
    return g.op("STRIDED_SLICE", [x, *bounds, g.constant(steps, np.int32)], out.shape, x.dtype)


def _sliced(g: Graph, x: Tensor, begin: list[int], shape: Shape) -> Tensor:
    """SLICE has 5 axes: neighbours that are taken whole are one."""
    if x.rank <= 5:
        return g.slice(x, begin, shape)
    start: list[int] = []
    size: list[int] = []
    merged: list[int] = []
    for i, (b, s, d) in enumerate(zip(begin, shape, x.shape, strict=True)):
        if i and s == d and size[-1] == merged[-1]:
            size[-1], merged[-1] = size[-1] * s, merged[-1] * d
        else:
            start.append(b)
            size.append(s)
            merged.append(d)
    if len(merged) > 5:
        raise Unsupported(f"a slice of {x.rank} axes; TFLite has 5", "reshape before it")
    return g.reshape(g.slice(g.reshape(x, tuple(merged)), start, size), shape)


def _bounds(node: Node) -> list[tuple[int, int, int]]:
    """(axis, start, step), starts clamped as ONNX says."""
    shape = node.input(0).shape
    if node.opset < 10:
        starts = list(node.integers("starts"))
        axes = list(node.integers("axes", range(len(starts))))
        steps = [1] * len(starts)
    else:
        starts = [int(v) for v in node.constant(1, "the start of the slice")]
        given = node.optional_constant(3, "the axes of the slice")
        axes = list(range(len(starts))) if given is None else [int(v) for v in given]
        strides = node.optional_constant(4, "the step of the slice")
        steps = [1] * len(starts) if strides is None else [int(v) for v in strides]
    found = []
    for axis, start, step in zip(axes, starts, steps, strict=True):
        size = shape[axis]
        start = start + size if start < 0 else start
        found.append((axis % len(shape), min(max(start, 0), size - 1 if step < 0 else size), step))
    return found


@lowers("Pad")
def pad(g: Graph, node: Node) -> Laid:
    value = node.input(0)
    perm, x = g.held(value)
    wide = computable(value.dtype, PADDED)
    fill, mode = _fill(g, node, value.dtype), node.text("mode", "constant")
    fill = fill and g.cast(fill, wide)
    if node.opset >= 11 and node.input(1).const is None:
        return _padded_at_run_time(g, node, mode, fill, wide), identity(value.rank)
    amounts = _amounts(node)
    if any(a < 0 for pair in amounts for a in pair):
        raise Unsupported("negative padding", "crop with a Slice")
    shape = tuple(node.outputs[0].shape[p] for p in perm)
    made = _padded(g, g.cast(x, wide), [amounts[p] for p in perm], shape, mode, fill)
    return g.cast(made, value.dtype), perm


def _padded(
    g: Graph, x: Tensor, amounts: list[tuple[int, int]], shape: Shape, mode: str, fill: Tensor | None
) -> Tensor:
    if mode == "edge":
        return _edge(g, x, amounts)
    if mode == "wrap":
        return _wrap(g, x, amounts)
    paddings = g.constant(amounts, np.int32)
    if mode == "reflect":
        return g.op("MIRROR_PAD", [x, paddings], shape, x.dtype, mode="REFLECT")
    if fill is None:
        return g.op("PAD", [x, paddings], shape, x.dtype)
    return g.op("PADV2", [x, paddings, fill], shape, x.dtype)


def _padded_at_run_time(
    g: Graph, node: Node, mode: str, fill: Tensor | None, wide: np.dtype[np.generic]
) -> Tensor:
    """ONNX gives all begins, then all ends; TFLite wants [rank, 2]."""
    value, out = node.input(0), node.outputs[0]
    if mode not in ("constant", "reflect") or node.optional(3) is not None:
        raise Unsupported(f"padding in mode {mode} computed while the model runs", "make it constant")
    pairs = g.transpose(g.reshape(g.tensor(node.input(1)), (2, value.rank)), (1, 0))
    inputs = [g.cast(g.tensor(value), wide), pairs]
    if mode == "reflect":
        return g.cast(g.op("MIRROR_PAD", inputs, out.shape, wide, mode="REFLECT"), value.dtype)
    code, more = ("PADV2", [fill]) if fill else ("PAD", [])
    return g.cast(g.op(code, [*inputs, *more], out.shape, wide), value.dtype)


def _amounts(node: Node) -> list[tuple[int, int]]:
    rank = node.input(0).rank
    if node.opset < 11:
        flat = list(node.integers("pads") or node.integers("paddings"))
    else:
        flat = [int(v) for v in node.constant(1, "the amount of padding")]
    given = node.optional_constant(3, "the axes to pad") if node.opset >= 18 else None
    axes = list(range(rank)) if given is None else [int(a) % rank for a in given]
    amounts = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        amounts[axis] = (flat[i], flat[i + len(axes)])
    return amounts


def _fill(g: Graph, node: Node, dtype: np.dtype[np.generic]) -> Tensor | None:
    """The value to pad with; None for zero."""
    if node.opset < 11:
        number = node.real("value", 0.0)
        return g.constant(number, dtype) if number else None
    given = node.optional(2)
    if given is None or (given.const is not None and not given.const.any()):
        return None
    return g.reshape(g.tensor(given), ())


def _edge(g: Graph, x: Tensor, amounts: list[tuple[int, int]]) -> Tensor:
    """The first and the last element of each axis, repeated: a gather with clamped indices."""
    for axis, (begin, end) in enumerate(amounts):
        if begin or end:
            x = _taken(g, x, axis, np.clip(np.arange(-begin, x.shape[axis] + end), 0, x.shape[axis] - 1))
    return x


def _wrap(g: Graph, x: Tensor, amounts: list[tuple[int, int]]) -> Tensor:
    for axis, (begin, end) in enumerate(amounts):
        if begin or end:
            x = _taken(g, x, axis, np.arange(-begin, x.shape[axis] + end) % x.shape[axis])
    return x


def _taken(g: Graph, x: Tensor, axis: int, places: np.ndarray) -> Tensor:
    shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
    return g.op("GATHER", [x, g.constant(places, np.int32)], shape, x.dtype, axis=axis)


@lowers("CenterCropPad")
def center_crop_pad(g: Graph, node: Node) -> Tensor:
    """Both shapes are known, so it is a slice and a padding; the odd element goes to the end."""
    value, out = node.input(0), node.outputs[0]
    pairs = list(zip(value.shape, out.shape, strict=True))
    begin = [max(have - want, 0) // 2 for have, want in pairs]
    x = _sliced(g, g.tensor(value), begin, tuple(min(have, want) for have, want in pairs))
    missing = [max(want - have, 0) for have, want in pairs]
    if not any(missing):
        return x
    amounts = [(m // 2, m - m // 2) for m in missing]
    return g.op("PAD", [x, g.constant(amounts, np.int32)], out.shape, value.dtype)
