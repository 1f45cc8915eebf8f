"""Conv and ConvTranspose in one, two and three dimensions.

The kernels want NHWC. One dimension is two with a height of 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..emit import Perm, Shape, Tensor, Unsupported
from ..layout import Graph, Laid, Value, channels_last
from ..registry import Node, computable, lowers

FLOAT = frozenset({"float32"})


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes; `begin` and `end` are the padding."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    def extent(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def is_same(self, spatial: Shape) -> bool:
        """Whether the padding is what TFLite's SAME computes: the odd element at the end."""
        for i, size in enumerate(spatial):
            total = max((-(-size // self.strides[i]) - 1) * self.strides[i] + self.extent(i) - size, 0)
            if (self.begin[i], self.end[i]) != (total // 2, total - total // 2):
                return False
        return True

    @property
    def padded(self) -> bool:
        return any(self.begin) or any(self.end)

    def as_2d(self) -> Window:
        """One dimension as two: a height of 1."""
        if len(self.kernel) != 1:
            return self
        return Window(
            (1, *self.kernel), (1, *self.strides), (1, *self.dilations), (0, *self.begin), (0, *self.end)
        )


def window(node: Node, spatial: Shape, kernel: Shape) -> Window:
    """The window of a Conv or Pool node over an input of these spatial sizes."""
    rank = len(spatial)
    strides = node.integers("strides", (1,) * rank)
    dilations = node.integers("dilations", (1,) * rank)
    pads = node.integers("pads", (0,) * 2 * rank)
    auto = node.text("auto_pad", "NOTSET")
    if auto == "VALID":
        pads = (0,) * 2 * rank
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        first, last = [], []
        for i, size in enumerate(spatial):
            extent = (kernel[i] - 1) * dilations[i] + 1
            total = max((-(-size // strides[i]) - 1) * strides[i] + extent - size, 0)
            small, large = total // 2, total - total // 2
            first.append(small if auto == "SAME_UPPER" else large)
            last.append(large if auto == "SAME_UPPER" else small)
        pads = (*first, *last)
    return Window(tuple(kernel), strides, dilations, pads[:rank], pads[rank:])


def pad_spatial(g: Graph, x: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad the spatial axes of [n, spatial..., c]."""
    if not any(begin) and not any(end):
        return x
    amounts = [(0, 0), *zip(begin, end, strict=True), (0, 0)]
    if any(a < 0 for pair in amounts for a in pair):
        raise Unsupported("negative padding", "crop with a Slice")
    shape = tuple(d + sum(p) for d, p in zip(x.shape, amounts, strict=True))
    paddings = g.constant(amounts, np.int32)
    if value == 0.0:
        return g.op("PAD", [x, paddings], shape, x.dtype)
    return g.op("PADV2", [x, paddings, g.constant(value, x.dtype)], shape, x.dtype)


def images(g: Graph, value: Value) -> Tensor:
    """[n, c, spatial...] in NHWC; one spatial axis becomes two with a height of 1."""
    x = g.view(value, channels_last(value.rank))
    return g.reshape(x, (x.shape[0], 1, *x.shape[1:])) if value.rank == 3 else x


def unimaged(g: Graph, x: Tensor, rank: int) -> Laid:
    """The inverse of `images`, still channels last."""
    if rank == 3:
        x = g.reshape(x, (x.shape[0], *x.shape[2:]))
    return x, channels_last(rank)


@lowers("Conv")
def conv(g: Graph, node: Node) -> Laid:
    value, weights = node.input(0), node.input(1)
    dtype = computable(value.dtype, FLOAT)
    if value.rank not in (3, 4, 5):
        raise Unsupported(f"a convolution over {value.rank - 2} axes; TFLite has 1, 2 and 3")
    kernel = node.integers("kernel_shape", weights.shape[2:])
    if kernel != weights.shape[2:]:
        raise Unsupported("kernel_shape differs from the weights' shape", "correct the model")
    over = window(node, value.shape[2:], kernel).as_2d()
    x = g.cast(images(g, value), dtype)
    padding = "SAME" if over.is_same(x.shape[1:-1]) else "VALID"
    if padding == "VALID":
        x = pad_spatial(g, x, over.begin, over.end)
    bias = node.optional(2)
    b = g.cast(g.tensor(bias), dtype) if bias else g.constant(np.zeros(weights.shape[0], np.float32))
    group = node.integer("group", 1)
    shape = _output_shape(node)
    if value.rank == 5:
        made = _conv_3d(g, x, weights, b, group, over, padding, shape)
    else:
        made = _conv_2d(g, x, weights, b, group, over, padding, shape)
    return unimaged(g, g.cast(made, value.dtype), value.rank)


def _output_shape(node: Node) -> Shape:
    n, c, *spatial = node.outputs[0].shape
    return (n, 1, *spatial, c) if len(spatial) == 1 else (n, *spatial, c)


def _strides(over: Window) -> dict[str, object]:
    return {
        "strideH": over.strides[0],
        "strideW": over.strides[1],
        "dilationHFactor": over.dilations[0],
        "dilationWFactor": over.dilations[1],
    }


def _conv_2d(
    g: Graph, x: Tensor, weights: Value, bias: Tensor, group: int, over: Window, padding: str, shape: Shape
) -> Tensor:
    out, channels = weights.shape[0], x.shape[-1]
    options = {"padding": padding, **_strides(over)}
    if group == channels and group > 1:
        w = _filter(g, weights, (1, *range(2, weights.rank), 0))
        return g.op(
            "DEPTHWISE_CONV_2D", [x, w, bias], shape, x.dtype, depthMultiplier=out // group, **options
        )
    w = _filter(g, weights, channels_last(weights.rank))
    return g.op("CONV_2D", [x, w, bias], shape, x.dtype, **options)


def _filter(g: Graph, weights: Value, perm: Perm) -> Tensor:
    w = g.cast(g.view(weights, perm), np.float32)
    return g.reshape(w, (w.shape[0], 1, *w.shape[1:])) if weights.rank == 3 else w


def _conv_3d(
    g: Graph, x: Tensor, weights: Value, bias: Tensor, group: int, over: Window, padding: str, shape: Shape
) -> Tensor:
    if group != 1:
        raise Unsupported("a grouped 3-D convolution", "use group=1")
    w = g.cast(g.view(weights, (2, 3, 4, 1, 0)), np.float32)
    named = {f"stride{a}": s for a, s in zip("DHW", over.strides, strict=True)}
    named |= {f"dilation{a}Factor": d for a, d in zip("DHW", over.dilations, strict=True)}
    return g.op("CONV_3D", [x, w, bias], shape, x.dtype, padding=padding, **named)


@lowers("ConvTranspose")
def conv_transpose(g: Graph, node: Node) -> Laid:
    """The full transposed convolution, then padding removed or output padding added, then the bias."""
    value, weights = node.input(0), node.input(1)
    dtype = computable(value.dtype, FLOAT)
    if value.rank not in (3, 4, 5):
        raise Unsupported(f"a transposed convolution over {value.rank - 2} axes; TFLite has 1, 2 and 3")
    spatial = value.rank - 2
    strides = node.integers("strides", (1,) * spatial)
    dilations = node.integers("dilations", (1,) * spatial)
    kernel = weights.shape[2:]
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    x = g.cast(images(g, value), dtype)
    made = _transposed(g, x, weights, node.integer("group", 1), strides, dilations)
    begin, wanted = _crop(node, strides, extent)
    if spatial == 1:
        begin, wanted = [0, *begin], [1, *wanted]
    missing = [max(b + w - have, 0) for b, w, have in zip(begin, wanted, made.shape[1:-1], strict=True)]
    made = pad_spatial(g, made, [0] * len(missing), missing)
    made = g.slice(made, [0, *begin, 0], [made.shape[0], *wanted, made.shape[-1]])
    bias = node.optional(2)
    if bias is not None:
        made = g.add(made, g.cast(g.tensor(bias), dtype))
    return unimaged(g, g.cast(made, value.dtype), value.rank)


def _crop(node: Node, strides: Sequence[int], extent: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where the output starts in the full result, and its size, per spatial axis."""
    wanted = list(node.outputs[0].shape[2:])
    pads = node.integers("pads", (0,) * 2 * len(wanted))
    auto = node.text("auto_pad", "NOTSET")
    if not node.integers("output_shape") and auto == "NOTSET":
        return list(pads[: len(wanted)]), wanted
    if auto == "VALID":
        return [0] * len(wanted), wanted
    extra = node.integers("output_padding", (0,) * len(wanted))
    begin = []
    for i, size in enumerate(wanted):
        total = max(strides[i] * (node.input(0).shape[2 + i] - 1) + extra[i] + extent[i] - size, 0)
        begin.append(total - total // 2 if auto == "SAME_LOWER" else total // 2)
    return begin, wanted


def _transposed(
    g: Graph, x: Tensor, weights: Value, group: int, strides: Sequence[int], dilations: Sequence[int]
) -> Tensor:
    if any(d != 1 for d in dilations):
        weights = _dilated(weights, dilations)
    solid = weights.rank == 5  # [d, h, w, out per group, in]; [out per group, h, w, in] otherwise
    w = _filter(g, weights, (2, 3, 4, 1, 0) if solid else (1, *range(2, weights.rank), 0))
    kernel, columns = (w.shape[:3], w.shape[3]) if solid else (w.shape[1:3], w.shape[0])
    step = (1, *strides) if len(strides) == 1 else tuple(strides)
    size = tuple((d - 1) * s + k for d, s, k in zip(x.shape[1:-1], step, kernel, strict=True))
    options: dict[str, object] = {f"stride{a}": s for a, s in zip("DHW"[-len(step) :], step, strict=True)}
    options |= {f"dilation{a}Factor": 1 for a in ("DHW" if solid else "")}
    code = "CONV_3D_TRANSPOSE" if solid else "TRANSPOSE_CONV"
    each = x.shape[-1] // group
    shape = (x.shape[0], *size, columns)
    parts = []
    for i in range(group):
        first = [*[0] * (x.rank - 1), i * each]
        part = g.slice(x, first, [*x.shape[:-1], each])
        share = g.constant(w.data[..., i * each : (i + 1) * each]) if w.data is not None else w
        if share is w and group != 1:
            share = g.slice(w, first, [*w.shape[:-1], each])
        inputs = [g.constant(shape, np.int32), share, part]
        parts.append(g.op(code, inputs, shape, x.dtype, padding="VALID", **options))
    return g.concat(parts, x.rank - 1)


def _dilated(weights: Value, dilations: Sequence[int]) -> Value:
    """The same kernel with zeros between its elements: TRANSPOSE_CONV has no dilation."""
    if weights.const is None:
        raise Unsupported("a dilated transposed convolution whose weights are not constant")
    spatial = [(k - 1) * d + 1 for k, d in zip(weights.shape[2:], dilations, strict=True)]
    spread = np.zeros((*weights.shape[:2], *spatial), weights.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, d) for d in dilations))] = weights.const
    return Value(weights.name, spread.shape, spread.dtype, const=spread)
