"""MaxPool, AveragePool, LpPool and their global forms.

Padding that is not TFLite's SAME is written out; an average then counts the padding as well, so the result is
multiplied by a constant map of (window size / elements that count).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np

from ..emit import Array, Shape, Tensor, Unsupported
from ..layout import Graph, Laid
from ..registry import Node, computable, lowers
from .convolution import Window, images, pad_spatial, unimaged, window

FLOAT = frozenset({"float32"})
MAX_TAPS = 64
"""A dilated window of more elements than this is refused: it is written out tap by tap."""


@lowers("MaxPool")
def max_pool(g: Graph, node: Node) -> list[Laid]:
    value = node.input(0)
    dtype = computable(value.dtype, FLOAT)
    x = g.cast(images(g, value), dtype)
    over, out = _window(node)
    if any(d != 1 for d in over.dilations):
        made = reduce(g.maximum, _taps(g, _extended(g, x, over, out, -math.inf), over, out))
    else:
        made = _pooled(g, "MAX_POOL_2D", x, over, out, -math.inf)
    results = [unimaged(g, g.cast(made, value.dtype), value.rank)]
    if len(node.outputs) > 1 and node.outputs[1].name:
        places = _places(g, _taps(g, _extended(g, x, over, out, -math.inf), over, out), x, over, node)
        results.append(unimaged(g, g.cast(places, np.int64), value.rank))
    return results


def _places(g: Graph, taps: list[Tensor], x: Tensor, over: Window, node: Node) -> Tensor:
    """Where each maximum is first found in the tensor [n, c, spatial...] laid out in a row; int32."""
    n, *spatial, c = x.shape
    size = math.prod(spatial)
    if n * c * size > np.iinfo(np.int32).max or (node.integer("storage_order") and len(spatial) != 2):
        raise Unsupported("the indices of the maxima of so large a tensor", "use the first output only")
    largest = reduce(g.maximum, taps)
    found = [
        g.select(g.compare("EQUAL", tap, largest), g.constant(at), g.constant(size, np.int32))
        for tap, at in zip(taps, _tap_places(over, spatial, largest.shape[1:-1]), strict=True)
    ]
    first = reduce(g.minimum, found)
    if node.integer("storage_order"):  # column by column; the first is still sought row by row
        turned = np.append(np.arange(size).reshape(spatial[::-1]).T.reshape(-1), size)
        first = g.op("GATHER", [g.constant(turned, np.int32), first], first.shape, np.int32, axis=0)
    starts = np.arange(n * c, dtype=np.int32).reshape(n, *[1] * len(spatial), c) * size
    return g.add(first, g.constant(starts, np.int32))


def _tap_places(over: Window, spatial: Sequence[int], out: Shape) -> Iterator[Array]:
    """Which element of the spatial axes in a row each tap sees, [1, out..., 1]; beyond them all: padding."""
    for tap in itertools.product(*map(range, over.kernel)):
        place, inside = np.zeros((), np.int32), np.ones((), np.bool_)
        for axis, t in enumerate(tap):
            at = np.arange(out[axis]) * over.strides[axis] + t * over.dilations[axis] - over.begin[axis]
            place = place[..., None] * spatial[axis] + at
            inside = inside[..., None] & (at >= 0) & (at < spatial[axis])
        yield np.where(inside, place, math.prod(spatial)).astype(np.int32)[None, ..., None]


@lowers("AveragePool")
def average_pool(g: Graph, node: Node) -> Laid:
    value = node.input(0)
    over, out = _window(node)
    x = g.cast(images(g, value), computable(value.dtype, FLOAT))
    counts_padding = bool(node.integer("count_include_pad")) and over.padded
    spatial = x.shape[1:-1]
    plain = all(d == 1 for d in over.dilations)
    if plain and not counts_padding and over.is_same(spatial) and out == _same_sizes(over, spatial):
        made = _pooled(g, "AVERAGE_POOL_2D", x, over, out, 0.0)
    else:
        made = _window_means(g, x, over, out)
        counts = _counts(over, spatial, out, counts_padding)
        if (counts != math.prod(over.kernel)).any():
            ratio = (math.prod(over.kernel) / counts).astype(np.float32)
            made = g.mul(made, g.constant(ratio[None, ..., None]))
    return unimaged(g, g.cast(made, value.dtype), value.rank)


@lowers("LpPool")
def lp_pool(g: Graph, node: Node) -> Laid:
    """(sum |x|^p)^(1/p): the mean of a padded window times its size is its sum."""
    value = node.input(0)
    over, out = _window(node)
    p = float(node.integer("p", 2))
    x = g.unary("ABS", g.cast(images(g, value), computable(value.dtype, FLOAT)))
    powered = g.mul(x, x) if p == 2 else g.binary("POW", x, g.constant(p, np.float32))
    total = g.mul(_window_means(g, powered, over, out), float(math.prod(over.kernel)))
    made = g.unary("SQRT", total) if p == 2 else g.binary("POW", total, g.constant(1 / p, np.float32))
    return unimaged(g, g.cast(made, value.dtype), value.rank)


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(g: Graph, node: Node) -> Laid:
    value = node.input(0)
    perm, held = g.held(value)
    x = g.cast(held, computable(value.dtype, FLOAT))
    axes = [i for i, axis in enumerate(perm) if axis >= 2]
    code = "MEAN" if node.op == "GlobalAveragePool" else "REDUCE_MAX"
    return g.cast(g.reduce(code, x, axes, True), value.dtype), perm


def _window(node: Node) -> tuple[Window, Shape]:
    """The window and the output's spatial sizes, at least two axes each."""
    value = node.input(0)
    if value.rank not in (3, 4, 5):
        raise Unsupported(f"a pool over {value.rank - 2} axes; TFLite has 1, 2 and 3")
    kernel = node.integers("kernel_shape")
    over = window(node, value.shape[2:], kernel).as_2d()
    out = node.outputs[0].shape[2:]
    out = (1, *out) if len(out) == 1 else tuple(out)
    spatial = value.shape[2:] if value.rank > 3 else (1, *value.shape[2:])
    short = [
        (size - 1) * s + over.extent(i) < whole
        for i, (size, s, whole) in enumerate(zip(out, over.strides, spatial, strict=True))
    ]
    if node.text("auto_pad", "NOTSET").startswith("SAME") and any(short):
        raise Unsupported(
            "with auto_pad its windows leave out a part of the input, and runtimes differ in which",
            "export the model with explicit pads",
        )
    begins = [(size - 1) * s - b for size, s, b in zip(out, over.strides, over.begin, strict=True)]
    if node.integer("ceil_mode") and any(b >= size for b, size in zip(begins, spatial, strict=True)):
        raise Unsupported(
            "with ceil_mode its last window lies outside of the input, which runtimes count differently",
            "export the model with ceil_mode=0, or opset 22 or newer",
        )
    return over, out


def _same_sizes(over: Window, spatial: Shape) -> Shape:
    return tuple(-(-size // s) for size, s in zip(spatial, over.strides, strict=True))


def _pooled(g: Graph, code: str, x: Tensor, over: Window, out: Shape, fill: float) -> Tensor:
    """One pool; three spatial axes are two pools, over (h, w) and then over d."""
    same = over.is_same(x.shape[1:-1]) and out == _same_sizes(over, x.shape[1:-1])
    if not same:
        x = _extended(g, x, over, out, fill)
    padding = "SAME" if same else "VALID"
    if len(out) == 2:
        return _pool_2d(g, code, x, over.kernel, over.strides, padding, out)
    n, d, h, w, c = x.shape
    planes = _pool_2d(
        g, code, g.reshape(x, (n * d, h, w, c)), over.kernel[1:], over.strides[1:], padding, out[1:]
    )
    columns = g.reshape(planes, (n, d, out[1] * out[2], c))
    made = _pool_2d(
        g, code, columns, (over.kernel[0], 1), (over.strides[0], 1), padding, (out[0], out[1] * out[2])
    )
    return g.reshape(made, (n, *out, c))


def _pool_2d(
    g: Graph, code: str, x: Tensor, kernel: Shape, strides: Shape, padding: str, out: Shape
) -> Tensor:
    return g.op(
        code,
        [x],
        (x.shape[0], *out, x.shape[-1]),
        x.dtype,
        padding=padding,
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        strideH=strides[0],
        strideW=strides[1],
    )


def _extended(g: Graph, x: Tensor, over: Window, out: Shape, fill: float) -> Tensor:
    """Padded, and further at the end where ceil_mode asks for windows that hang over, or cropped to fit."""
    end = []
    for i, size in enumerate(out):
        needed = (size - 1) * over.strides[i] + over.extent(i)
        end.append(max(needed - x.shape[1 + i] - over.begin[i], 0))
    return pad_spatial(g, x, over.begin, end, fill)


def _window_means(g: Graph, x: Tensor, over: Window, out: Shape) -> Tensor:
    padded = _extended(g, x, over, out, 0.0)
    if any(d != 1 for d in over.dilations):
        return g.mul(reduce(g.add, _taps(g, padded, over, out)), 1.0 / math.prod(over.kernel))
    zero = (0,) * len(out)
    plain = Window(over.kernel, over.strides, over.dilations, zero, zero)
    return _pooled(g, "AVERAGE_POOL_2D", padded, plain, out, 0.0)


def _counts(over: Window, spatial: Shape, out: Shape, padding_counts: bool) -> np.ndarray:
    """How many elements each window counts, per output position."""
    counts = np.ones((), np.float64)
    for i, size in enumerate(out):
        begin = np.arange(size) * over.strides[i] - over.begin[i]
        places = begin[:, None] + np.arange(over.kernel[i])[None, :] * over.dilations[i]
        low, high = (-over.begin[i], spatial[i] + over.end[i]) if padding_counts else (0, spatial[i])
        counts = counts[..., None] * ((places >= low) & (places < high)).sum(1)
    return counts


def _taps(g: Graph, x: Tensor, over: Window, out: Shape) -> list[Tensor]:
    """What each element of the window sees of the padded input, as a strided slice."""
    if math.prod(over.kernel) > MAX_TAPS:
        raise Unsupported(f"a dilated window of more than {MAX_TAPS} elements", "use dilations of 1")
    made = []
    for tap in itertools.product(*map(range, over.kernel)):
        begin = [0, *(t * d for t, d in zip(tap, over.dilations, strict=True)), 0]
        spans = [(size - 1) * s + 1 for size, s in zip(out, over.strides, strict=True)]
        end = [x.shape[0], *(b + span for b, span in zip(begin[1:-1], spans, strict=True)), x.shape[-1]]
        places = [g.constant(v, np.int32) for v in (begin, end, [1, *over.strides, 1])]
        made.append(g.op("STRIDED_SLICE", [x, *places], (x.shape[0], *out, x.shape[-1]), x.dtype))
    return made
