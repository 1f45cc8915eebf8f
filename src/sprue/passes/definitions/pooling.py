"""Pools over three axes as two pools over two, LpPool by an average, Col2Im by a transposed convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer


def pool_3d(w: Writer) -> None:
    """[n,c,d,h,w]: first over h and w, then over d. A mean of means of equally many is the mean of all."""
    if len(w.shape()) != 5 or w.wants(1):
        raise NotDefined
    w.result(_over_three(w, w.x(), w.node.op_type, {"count_include_pad", "storage_order"}))


def lp_pool(w: Writer) -> None:
    """(sum of |x|^p)^(1/p); the sum is the mean with padding counted, times how many there are."""
    rank = len(w.shape()) - 2
    kernel = w.integers("kernel_shape", ())
    if w.integer("ceil_mode", 0) or rank > 3:
        raise NotDefined
    p = w.integer("p", 2)
    powers = w.op("Mul", w.x(), w.x()) if p == 2 else w.op("Abs", w.x())
    if p > 2:
        powers = w.op("Pow", powers, w.like(p))
    if rank == 3:
        mean = _over_three(w, powers, "AveragePool", set(), count_include_pad=1)
    else:
        given = _of_pool(w, slice(0, rank), rank)
        mean = w.op("AveragePool", powers, kernel_shape=kernel, count_include_pad=1, **given)
    total = w.op("Mul", mean, w.like(math.prod(kernel)))
    w.result(total if p == 1 else w.op("Sqrt", total) if p == 2 else w.op("Pow", total, w.like(1 / p)))


def _over_three(w: Writer, value: str, op: str, also: set[str], **given: Any) -> str:
    n, c, d, h, width = w.shape()
    kernel = w.integers("kernel_shape", ())
    given |= {k: v for k, v in w.attributes.items() if k in also}
    plane = _of_pool(w, slice(1, 3), 3)
    flat = w.op(op, w.reshape(value, [n, c * d, h, width]), kernel_shape=kernel[1:], **plane, **given)
    depth = _of_pool(w, slice(0, 1), 3)
    deep = {k: v if isinstance(v, int | str) else _widened(k, v) for k, v in depth.items()}
    rows = w.op("Reshape", flat, w.constant([n, c, d, -1], np.int64))
    made = w.op(op, rows, kernel_shape=[kernel[0], 1], **deep, **given)
    return w.reshape(made, w.made_shape())


def _of_pool(w: Writer, axes: slice, rank: int) -> dict[str, Any]:
    """strides, dilations, pads of some of the axes, and how sizes are rounded."""
    made: dict[str, Any] = {}
    for name in ("strides", "dilations"):
        if name in w.attributes:
            made[name] = w.integers(name, ())[axes]
    if "pads" in w.attributes:
        pads = w.integers("pads", ())
        made["pads"] = pads[:rank][axes] + pads[rank:][axes]
    for name in ("auto_pad", "ceil_mode"):
        if name in w.attributes:
            made[name] = w.attributes[name]
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in made.items()}


def _widened(name: str, value: Sequence[int]) -> list[int]:
    """Of one axis to two, of which the second is left alone."""
    return [value[0], 0, value[1], 0] if name == "pads" else [value[0], 1]


def col2im(w: Writer) -> None:
    """Overlapping blocks are summed up: a transposed convolution with one kernel per place in the block."""
    image = [int(v) for v in w.value(1).ravel()]
    block = [int(v) for v in w.value(2).ravel()]
    rank = len(image)
    if rank > 3:
        raise NotDefined
    strides = w.integers("strides", [1] * rank)
    dilations = w.integers("dilations", [1] * rank)
    pads = w.integers("pads", [0] * 2 * rank)
    n, rows, count = w.shape()
    places = math.prod(block)
    channels = rows // places
    spread = [dilations[i] * (block[i] - 1) + 1 for i in range(rank)]
    steps = [(image[i] + pads[i] + pads[rank + i] - spread[i]) // strides[i] + 1 for i in range(rank)]
    whole = [(steps[i] - 1) * strides[i] + spread[i] - pads[i] - pads[rank + i] for i in range(rank)]
    extra = [image[i] - whole[i] for i in range(rank)]
    if (
        math.prod(steps) != count
        or min(extra) < 0
        or any(e >= s for e, s in zip(extra, strides, strict=True))
    ):
        raise NotDefined
    kernels = np.tile(np.eye(places).reshape(places, 1, *block), (channels, 1, *[1] * rank))
    blocks = w.reshape(w.x(), [n, rows, *steps])
    w.result(
        w.op(
            "ConvTranspose", blocks, w.like(kernels), group=channels, strides=strides, dilations=dilations,
            pads=pads, output_padding=extra, kernel_shape=block,
        )
    )  # fmt: skip


DEFINITIONS = {
    "LpPool": lp_pool,
    "Col2Im": col2im,
}
FORMS = {
    "MaxPool": pool_3d,
    "AveragePool": pool_3d,
}
