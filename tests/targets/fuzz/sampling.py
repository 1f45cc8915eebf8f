"""Steps by which a random graph grows: what resamples images, and what takes signals apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from .growing import FLOATS, Growing, Skip
from .steps import Step

PLACES = ("half_pixel", "half_pixel_symmetric", "asymmetric", "align_corners", "pytorch_half_pixel")
LONGEST_SIGNAL = 64
"""Of longer ones onnxruntime's sums leave too little behind the point."""
ROUNDINGS = ("floor", "round_prefer_floor", "round_prefer_ceil", "ceil")


def resize(g: Growing) -> None:
    """Up and down, along the last one, two or three axes."""
    if g.opset < 11:
        _upsample(g)
        return
    x = g.pick(rank=(3, 4, 4, 4, 5))
    shape = g.values[x].shape
    mode = g.one_of(("nearest", "nearest", "linear", "linear", "cubic"))
    place = g.one_of(PLACES)
    given: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": place}
    factors = (2, 3) if g.maybe() else (1, 2, 0.5, 1.5, 0.75)
    if mode == "nearest":
        given["nearest_mode"] = g.one_of(ROUNDINGS)
    if mode == "cubic":
        given["cubic_coeff_a"] = g.one_of((None, -0.5))
        given["exclude_outside"] = g.one_of((None, 1))
    if g.opset >= 18 and mode != "nearest" and g.maybe(4):
        given["antialias"] = 1
    spatial = len(shape) - 2
    chosen = [g.one_of(factors) for _ in range(spatial)]
    sizes = [max(1, int(d * f)) for d, f in zip(shape[2:], chosen, strict=True)]
    axes = list(range(2, len(shape))) if g.opset >= 18 and g.maybe(4) else None
    given["axes"] = axes
    if g.maybe():
        if place == "half_pixel_symmetric" and mode == "nearest":
            raise Skip  # by rounded scales, which may fall on either side of an element
        if axes and g.maybe():
            given["keep_aspect_ratio_policy"] = g.one_of(("not_larger", "not_smaller", "stretch"))
        every = sizes if axes else [*shape[:2], *sizes]
        g.add("Resize", [x, "", "", g.integers(every)], **given)
    else:
        whole = all(d * f == int(d * f) for d, f in zip(shape[2:], chosen, strict=True))
        if place == "align_corners" and not whole:
            raise Skip  # onnxruntime computes otherwise than ONNX says
        scales = [float(f) for f in chosen] if axes else [1.0, 1.0, *map(float, chosen)]
        roi = g.constant([], "float32") if g.opset < 13 else ""
        g.add("Resize", [x, roi, g.constant(scales, "float32")], **given)


def _upsample(g: Growing) -> None:
    x = g.pick(rank=(4,))
    scales = [1.0, 1.0, float(g.choose(1, 3)), float(g.choose(1, 3))]
    mode = g.one_of(("nearest", "linear"))
    if g.opset < 9:
        g.add("Upsample", [x], scales=scales, mode=mode)
    else:
        g.add("Resize" if g.opset == 10 else "Upsample", [x, g.constant(scales, "float32")], mode=mode)


def grid_sample(g: Growing) -> None:
    """At points that a graph computes, or at constant ones; none lies where samplers jump."""
    x = g.pick(rank=(4, 4, 5))
    shape = g.values[x].shape
    spatial = len(shape) - 2
    rng = np.random.default_rng(g.choose(0, 9999))
    corners = g.choose(0, 1)
    if spatial == 2 and g.opset >= 20 and g.maybe():
        theta = g.constant(rng.uniform(-1, 1, (shape[0], 2, 3)), "float32")
        least = 1 + corners  # of one element between its own corners everybody makes something else
        size = g.integers([shape[0], shape[1], g.choose(least, 4), g.choose(least, 4)])
        (grid,) = g.add("AffineGrid", [theta, size], align_corners=corners)
    else:
        points = rng.uniform(-1.2, 1.2, (shape[0], *(g.choose(1, 4) for _ in range(spatial)), spatial))
        grid = g.constant(points, "float32")
    old = g.opset < 20
    modes = ("bilinear", "nearest", "bicubic") if old else ("linear", "nearest", "cubic")
    mode = g.one_of(modes)
    if mode == "nearest":
        _far_from_halves(g.values[grid], shape[2:], corners)
    padding = g.one_of((None, "zeros", "border", "reflection"))
    g.add("GridSample", [x, grid], mode=mode, padding_mode=padding, align_corners=corners)


def _far_from_halves(grid: Any, sizes: tuple[int, ...], corners: int) -> None:
    """Raises Skip where a rounding error could choose another pixel."""
    size = np.asarray(sizes[::-1], np.float64)
    at = (grid + 1) / 2 * (size - 1) if corners else ((grid + 1) * size - 1) / 2
    if np.abs(at - np.floor(at) - 0.5).min() < 1e-3:
        raise Skip


def regions(g: Growing) -> None:
    x = g.pick(rank=(4,))
    _, _, height, width = g.values[x].shape
    count = g.choose(1, 3)
    rng = np.random.default_rng(g.choose(0, 9999))
    starts = rng.uniform(0, 2, (count, 2))
    rois = np.concatenate([starts, starts + rng.uniform(0.6, 1, (count, 2)) * [width, height]], axis=1)
    places = ("half_pixel", "output_half_pixel") if g.opset >= 16 else (None,)
    mode, ratio = g.one_of(
        (("avg", 0), ("avg", 2), ("avg", 1), ("max", 1))
    )  # onnxruntime's max knows no other
    g.add(
        "RoiAlign", [x, g.constant(rois, "float32"), g.constant(np.zeros(count), "int64")],
        output_height=g.choose(1, 3), output_width=g.choose(1, 3), sampling_ratio=ratio,
        spatial_scale=g.one_of((None, 0.5)), mode=mode,
        coordinate_transformation_mode=g.one_of(places),
    )  # fmt: skip


def deformed(g: Growing) -> None:
    x = g.pick(rank=(4,))
    n, c, height, width = g.values[x].shape
    kernel = [g.choose(1, min(3, height)), g.choose(1, min(3, width))]
    pads = [g.choose(0, 1) for _ in range(4)]
    out = (height + pads[0] + pads[2] - kernel[0] + 1, width + pads[1] + pads[3] - kernel[1] + 1)
    group = g.one_of([d for d in (1, 1, c) if c % d == 0])
    offsets = g.one_of([d for d in (1, 1, c) if c % d == 0])
    points = kernel[0] * kernel[1]
    inputs = [x, g.weight(group * g.choose(1, 2), c // group, *kernel)]
    inputs.append(g.constant(g.random("float32", (n, offsets * points * 2, *out), 0.7)))
    inputs.append(g.weight(g.values[inputs[1]].shape[0]) if g.maybe() else "")
    if g.maybe():
        inputs.append(g.constant(np.abs(g.random("float32", (n, offsets * points, *out), 0.5))))
    given = {"kernel_shape": kernel, "pads": pads, "group": group, "offset_group": offsets}
    g.add("DeformConv", inputs if inputs[-1] else inputs[:-1], **given)


def columns_to_image(g: Growing) -> None:
    x = g.pick()
    size = g.values[x].size
    block = [g.choose(1, 2), g.choose(1, 2)]
    image = [block[0] + g.choose(0, 3), block[1] + g.choose(0, 3)]
    places = (image[0] - block[0] + 1) * (image[1] - block[1] + 1)
    channels, rest = divmod(size, block[0] * block[1] * places)
    if rest or not channels:
        raise Skip
    (columns,) = g.moved("Reshape", [x, g.integers([1, -1, places])])
    g.add("Col2Im", [columns, g.integers(image), g.integers(block)])


def cropped(g: Growing) -> None:
    x = g.pick(rank=(2, 3, 4))
    shape = g.values[x].shape
    axes = sorted({g.choose(0, len(shape) - 1) for _ in range(2)})
    target = [max(1, shape[a] + g.choose(-2, 2)) for a in axes]
    if len(axes) == len(shape) and g.maybe():
        g.moved("CenterCropPad", [x, g.integers(target)])
    else:
        g.moved("CenterCropPad", [x, g.integers(target)], axes=axes)


def fourier(g: Growing) -> None:
    """Of [batch, signal, 1 or 2]; constant lengths, as a spectrogram has them."""
    x = g.pick()
    size = g.values[x].size
    if not 2 <= size <= LONGEST_SIGNAL:
        raise Skip
    parts = 2 if size % 2 == 0 and g.maybe() else 1
    (signal,) = g.moved("Reshape", [x, g.integers([1, size // parts, parts])])
    inverse = g.choose(0, 1)
    onesided = 1 if parts == 1 and not inverse and g.maybe() else 0
    length = g.integers(g.choose(1, size // parts + 2)) if g.maybe(3) else ""
    if g.opset >= 20:
        given = [signal, length, g.integers(1)] if g.maybe() or length else [signal, "", g.integers(1)]
        g.add("DFT", given, inverse=inverse, onesided=onesided)
    else:
        g.add("DFT", [signal, length] if length else [signal], inverse=inverse, onesided=onesided, axis=1)


def short_time(g: Growing) -> None:
    x = g.pick()
    size = g.values[x].size
    if size < 6:
        raise Skip
    (signal,) = g.moved("Reshape", [x, g.integers([1, size, 1])])
    frame = g.choose(2, min(size, 8))
    step = g.integers(g.choose(1, 4))
    if g.maybe():
        kind = g.one_of(("HannWindow", "HammingWindow", "BlackmanWindow"))
        (window,) = g.add(kind, [g.integers(frame)], periodic=g.choose(0, 1))
    else:
        window = g.constant(g.random("float32", (frame,)))
    g.add("STFT", [signal, step, window, g.integers(frame)], onesided=g.choose(0, 1))


def windowed(g: Growing) -> None:
    x = g.pick(FLOATS, rank=(1, 2, 3, 4))
    size = g.values[x].shape[-1]
    kind = g.one_of(("HannWindow", "HammingWindow", "BlackmanWindow"))
    (window,) = g.add(kind, [g.integers(size)], periodic=g.choose(0, 1))
    g.add("Mul", [x, window])


STEPS: tuple[Step, ...] = (
    resize, resize, grid_sample, regions, deformed, columns_to_image, cropped, fourier, short_time, windowed,
)  # fmt: skip
