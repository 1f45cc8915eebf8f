"""Resize and Upsample: one constant matrix for each axis, or TFLite's own kernel where it computes the same.

A resize is linear and separable: along each axis, output = matrix [out, in] x input. Where every row of the
matrix picks one element (nearest), it is a GATHER; else a FULLY_CONNECTED over that axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..emit import Tensor, Unsupported
from ..layout import Graph, Laid, channels_last, identity
from ..registry import Node, computable, lowers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """The attributes of Resize that say what an output element is made of."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    antialias: bool
    exclude_outside: bool


@lowers("Resize", "Upsample")
def resize(g: Graph, node: Node) -> Laid:
    value, out = node.input(0), node.outputs[0]
    method = _method(node)
    scales, region = _scales(node), _region(node)
    matrices = {
        axis: matrix(method, value.shape[axis], out.shape[axis], scales[axis], region[axis])
        for axis in range(value.rank)
        if scales[axis] != 1.0 or out.shape[axis] != value.shape[axis] or region[axis] != (0.0, 1.0)
    }
    builtin = _builtin(g, node, method, scales, matrices)
    if builtin is not None:
        return builtin
    x = g.cast(g.tensor(value), computable(value.dtype, frozenset({"float32"})))
    for axis, rows in matrices.items():
        x = _along(g, x, axis, rows)
    beyond = np.zeros((), np.bool_)
    for axis, (size, new) in enumerate(zip(value.shape, out.shape, strict=True)):
        where = (
            positions(method.coordinates, size, new, scales[axis], region[axis]) if axis in matrices else 0
        )
        outside = np.broadcast_to((where < 0) | (where > size - 1), (new,))
        beyond = beyond[..., None] | outside
    if method.coordinates == "tf_crop_and_resize" and beyond.any():
        x = g.select(g.constant(beyond), g.constant(node.real("extrapolation_value", 0.0), x.dtype), x)
    return g.cast(x, value.dtype), identity(value.rank)


def _method(node: Node) -> Method:
    old = node.op == "Upsample" or node.opset < 11
    mode = node.text("mode", "nearest")
    return Method(
        mode,
        "asymmetric" if old else node.text("coordinate_transformation_mode", "half_pixel"),
        "floor" if old else node.text("nearest_mode", "round_prefer_floor"),
        node.real("cubic_coeff_a", -0.75),
        bool(node.integer("antialias")),
        bool(node.integer("exclude_outside")),
    )


def _axes(node: Node) -> list[int]:
    rank = node.input(0).rank
    return [a % rank for a in node.integers("axes", range(rank))]


def _scales(node: Node) -> list[float]:
    """The factor of each axis: as given, or output / input where sizes are given."""
    value, out = node.input(0), node.outputs[0]
    made = [1.0] * value.rank
    old = node.op == "Upsample" or node.opset < 11
    given = node.attributes.get("scales")
    place = 1 if old else 2
    held = node.optional(place)
    sizes = node.optional(3)
    if given is not None:
        factors = [float(s) for s in given]  # type: ignore[attr-defined]  # a list of floats
    elif sizes is not None and not old:
        return _from_sizes(node, made)
    elif held is not None and held.shape != (0,):
        factors = [float(s) for s in node.constant(place, "the scale of the resize")]
    else:
        raise Unsupported("a resize without scales or sizes", "correct the model")
    for axis, factor in zip(_axes(node), factors, strict=True):
        made[axis] = factor
    assert len(out.shape) == len(made)
    return made


def _from_sizes(node: Node, made: list[float]) -> list[float]:
    value, out = node.input(0), node.outputs[0]
    axes = _axes(node)
    ratios = {a: out.shape[a] / value.shape[a] for a in axes}
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        sizes = node.constant(3, "the size of the resize")
        wanted = [int(s) / value.shape[a] for s, a in zip(sizes, axes, strict=True)]
        one = min(wanted) if policy == "not_larger" else max(wanted)
        ratios = dict.fromkeys(axes, one)
    for axis, ratio in ratios.items():
        made[axis] = ratio
    return made


def _region(node: Node) -> list[tuple[float, float]]:
    """Start and end of each axis for tf_crop_and_resize, in parts of its length."""
    whole = [(0.0, 1.0)] * node.input(0).rank
    if node.text("coordinate_transformation_mode") != "tf_crop_and_resize":
        return whole
    given = node.constant(1, "the region of the resize")
    axes = _axes(node)
    for i, axis in enumerate(axes):
        whole[axis] = (float(given[i]), float(given[i + len(axes)]))
    return whole


def matrix(method: Method, size: int, out: int, scale: float, region: tuple[float, float]) -> Floats:
    """[out, in]: how much of each input element is in each output element. Formulas of the ONNX operator."""
    where = positions(method.coordinates, size, out, scale, region)
    rows = np.zeros((out, size))
    if method.mode == "nearest":
        rows[np.arange(out), np.clip(_nearest(method.nearest, where), 0, size - 1)] = 1.0
        return rows
    narrow = min(scale, 1.0) if method.antialias else 1.0
    reach = (1 if method.mode == "linear" else 2) / narrow
    floor = np.floor(where).astype(int)
    for step in range(int(np.floor(-reach)) + 1, int(np.ceil(reach)) + 1):
        places = floor + step
        share = _kernel(method, (places - where) * narrow)
        if method.exclude_outside:
            share = np.where((places < 0) | (places >= size), 0.0, share)
        np.add.at(rows, (np.arange(out), np.clip(places, 0, size - 1)), share)
    totals = rows.sum(axis=1, keepdims=True)
    return rows / totals if method.exclude_outside or method.antialias else rows


def positions(kind: str, size: int, out: int, scale: float, region: tuple[float, float]) -> Floats:
    """Where in the input each output element lies, in elements."""
    x = np.arange(out, dtype=np.float64)
    if kind == "half_pixel" or (kind == "pytorch_half_pixel" and out > 1):
        return (x + 0.5) / scale - 0.5
    if kind == "pytorch_half_pixel":
        return np.zeros(out)
    if kind == "half_pixel_symmetric":
        return size / 2 * (1 - out / (scale * size)) + (x + 0.5) / scale - 0.5
    if kind == "asymmetric":
        return x / scale
    if kind == "tf_half_pixel_for_nn":
        return (x + 0.5) / scale
    if kind == "align_corners":
        if not np.isclose(scale * size, out):  # ONNX's definition and onnxruntime disagree here
            raise Unsupported("align_corners with a scale that gives no whole size", "give sizes instead")
        return x * ((size - 1) / (out - 1) if out > 1 else 0.0)
    if kind == "tf_crop_and_resize":
        start, end = region
        if out == 1:
            return np.full(1, 0.5 * (start + end) * (size - 1))
        return start * (size - 1) + x * (end - start) * (size - 1) / (out - 1)
    raise Unsupported(f"the coordinates {kind}", "use half_pixel")


def _nearest(kind: str, where: Floats) -> NDArray[np.int64]:
    rounded = {
        "round_prefer_floor": np.ceil(where - 0.5),
        "round_prefer_ceil": np.floor(where + 0.5),
        "floor": np.floor(where),
        "ceil": np.ceil(where),
    }
    return rounded[kind].astype(np.int64)


def _kernel(method: Method, distance: Floats) -> Floats:
    d = np.abs(distance)
    if method.mode == "linear":
        return np.maximum(1.0 - d, 0.0)
    if method.mode != "cubic":
        raise Unsupported(f"the mode {method.mode}", "use nearest, linear or cubic")
    a = method.cubic
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    made: Floats = np.where(d <= 1, near, np.where(d < 2, far, 0.0))
    return made


def _along(g: Graph, x: Tensor, axis: int, rows: Floats) -> Tensor:
    picks = rows.argmax(axis=1)
    if (rows.max(axis=1) == 1.0).all() and (np.count_nonzero(rows, axis=1) == 1).all():
        shape = (*x.shape[:axis], len(rows), *x.shape[axis + 1 :])
        return g.op("GATHER", [x, g.constant(picks, np.int32)], shape, x.dtype, axis=axis)
    last = (*(i for i in range(x.rank) if i != axis), axis)
    made = g.fully_connected(g.transpose(x, last), g.constant(rows.astype(np.float32)), None)
    return g.transpose(made, tuple(last.index(i) for i in range(x.rank)))


def _builtin(
    g: Graph, node: Node, method: Method, scales: list[float], matrices: dict[int, Floats]
) -> Laid | None:
    """RESIZE_BILINEAR of images whose sizes are exactly the scaled ones; it computes its scales from them."""
    value, out = node.input(0), node.outputs[0]
    kinds = {"half_pixel": (False, True), "align_corners": (True, False), "asymmetric": (False, False)}
    exact = all(o == s * i for o, s, i in zip(out.shape, scales, value.shape, strict=True))
    if (
        value.rank != 4
        or value.dtype != np.float32
        or method.mode != "linear"
        or method.coordinates not in kinds
        or method.antialias
        or not exact
        or not set(matrices) <= {2, 3}
    ):
        return None
    align, half = kinds[method.coordinates]
    x = g.view(value, channels_last(4))
    shape = tuple(out.shape[p] for p in channels_last(4))
    inputs = [x, g.constant(out.shape[2:], np.int32)]
    made = g.op("RESIZE_BILINEAR", inputs, shape, x.dtype, alignCorners=align, halfPixelCenters=half)
    return made, channels_last(4)
