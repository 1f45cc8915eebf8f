"""DeformConv: its input sampled where the offsets say, then a convolution of one place."""

from __future__ import annotations

import math

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer


def deform_conv(w: Writer) -> None:
    """Inputs: x [n,c,h,w], kernels [out,c/group,kh,kw], offsets [n,parts*kh*kw*2,oh,ow], bias, mask."""
    if len(w.shape()) != 4:
        raise NotDefined
    n, c, height, width = w.shape()
    out, _, kh, kw = w.shape(1)
    oh, ow = w.shape(2)[2:]
    parts, group = w.integer("offset_group", 1), w.integer("group", 1)
    if min(height, width) < 2:
        raise NotDefined
    places = kh * kw
    offsets = w.reshape(w.x(2), [n * parts, places, 2, oh, ow])
    grid = []
    for axis, size in ((1, width), (0, height)):
        pixels = w.op("Add", w.gather(offsets, axis, 2), w.like(_places(w, axis)))
        half = w.like((size - 1) / 2)
        unit = w.op("Sub", w.op("Div", pixels, half), w.like(1))
        grid.append(w.reshape(unit, [n * parts, places * oh, ow, 1]))
    sampled = w.op(
        "GridSample",
        w.reshape(w.x(), [n * parts, c // parts, height, width]),
        w.op("Concat", *grid, axis=3),
        mode="bilinear" if w.opset < 20 else "linear",
        align_corners=1,
    )
    if w.has(4):
        sampled = w.op("Mul", sampled, w.reshape(w.x(4), [n * parts, 1, places * oh, ow]))
    columns = w.reshape(sampled, [n, c * places, oh, ow])
    kernels = w.reshape(w.x(1), [out, (c // group) * places, 1, 1])
    bias = [w.x(3)] if w.has(3) else []
    w.result(w.op("Conv", columns, kernels, *bias, group=group))


def _places(w: Writer, axis: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """[places, oh, ow]: the pixel of each place in the kernel, without offsets, along one axis."""
    kernel, result = w.shape(1)[2:], w.shape(2)[2:]
    pads, strides = w.integers("pads", [0] * 4), w.integers("strides", [1, 1])
    dilations = w.integers("dilations", [1, 1])
    inside = np.indices(kernel)[axis].reshape(math.prod(kernel), 1, 1) * dilations[axis]
    return np.asarray(inside + np.indices(result)[axis] * strides[axis] - pads[axis], np.float64)


DEFINITIONS = {"DeformConv": deform_conv}
