"""GridSample and the discrete Fourier transform: products with weights that positions decide."""

from __future__ import annotations

import itertools
import math
from functools import reduce

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph, Laid, channels_last
from ..registry import Node, computable, lowers

CUBIC = -0.75
MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest", "bicubic": "cubic", "cubic": "cubic"}


@lowers("GridSample")
def grid_sample(g: Graph, node: Node) -> Laid:
    """X [n, c, spatial...] at grid [n, out..., k] -> [n, c, out...]; the grid's last axis runs x, y, z.

    Every output is a weighted sum of neighbours: each neighbour is one GATHER_ND of channel vectors.
    """
    value, grid = node.input(0), node.input(1)
    mode = MODES[node.text("mode", "linear")]
    padding = node.text("padding_mode", "zeros")
    align = bool(node.integer("align_corners"))
    dtype = computable(value.dtype, frozenset({"float32"}))
    x = g.cast(g.view(value, channels_last(value.rank)), dtype)
    points = g.cast(g.tensor(grid), np.float32)
    sizes = value.shape[2:]
    where = [_position(g, points, len(sizes) - 1 - i, size, align) for i, size in enumerate(sizes)]
    if mode == "nearest":
        where = [g.unary("ROUND", p) for p in where]
    if padding == "reflection" or (padding == "border" and mode != "cubic"):
        where = [_inside(g, p, size, padding, align) for p, size in zip(where, sizes, strict=True)]
    taps = [_taps(g, p, mode) for p in where]
    parts = [
        _neighbour(g, x, [p for p, _ in choice], [w for _, w in choice], padding, align)
        for choice in itertools.product(*taps)
    ]
    return g.cast(reduce(g.add, parts), value.dtype), channels_last(value.rank)


def _position(g: Graph, points: Tensor, column: int, size: int, align: bool) -> Tensor:
    """Coordinates in [-1, 1] -> places in elements, [n, out..., 1]."""
    start = [0] * (points.rank - 1) + [column]
    one = g.add(g.slice(points, start, [*points.shape[:-1], 1]), 1.0)
    if align:
        return g.mul(one, (size - 1) / 2)
    return g.mul(g.sub(g.mul(one, float(size)), 1.0), 0.5)


def _inside(g: Graph, p: Tensor, size: int, padding: str, align: bool) -> Tensor:
    """Clamped to the image, or mirrored at its borders as often as needed."""
    if padding == "reflection":
        p = _mirrored(g, p, size, align)
        return p if not align else g.minimum(g.maximum(p, 0.0), float(size - 1))
    return g.minimum(g.maximum(p, 0.0), float(size - 1))


def _mirrored(g: Graph, p: Tensor, size: int, align: bool) -> Tensor:
    low, span = (0.0, size - 1.0) if align else (-0.5, float(size))
    if span == 0:
        return g.mul(p, 0.0)
    turn = g.binary("FLOOR_MOD", g.sub(p, g.constant(low, np.float32)), g.constant(2 * span, np.float32))
    return g.add(g.sub(g.constant(span, np.float32), g.unary("ABS", g.sub(turn, span))), low)


def _taps(g: Graph, p: Tensor, mode: str) -> list[tuple[Tensor, Tensor | None]]:
    """The neighbours along one axis and the weight of each; no weight for the only one."""
    if mode == "nearest":
        return [(p, None)]
    floor = g.unary("FLOOR", p)
    t = g.sub(p, floor)
    rest = g.sub(g.constant(1.0, np.float32), t)
    if mode == "linear":
        return [(floor, rest), (g.add(floor, 1.0), t)]
    weights = [_far(g, g.add(t, 1.0)), _near(g, t), _near(g, rest), _far(g, g.add(rest, 1.0))]
    return [(g.add(floor, float(i - 1)), w) for i, w in enumerate(weights)]


def _near(g: Graph, d: Tensor) -> Tensor:
    """((a + 2) d - (a + 3)) d^2 + 1: Keys' cubic within one element."""
    return g.add(g.mul(g.mul(g.sub(g.mul(d, CUBIC + 2), CUBIC + 3), d), d), 1.0)


def _far(g: Graph, d: Tensor) -> Tensor:
    """((a d - 5 a) d + 8 a) d - 4 a: beyond one element."""
    inner = g.add(g.mul(g.sub(g.mul(d, CUBIC), 5 * CUBIC), d), 8 * CUBIC)
    return g.sub(g.mul(inner, d), 4 * CUBIC)


def _neighbour(
    g: Graph, x: Tensor, places: list[Tensor], weights: list[Tensor | None], padding: str, align: bool
) -> Tensor:
    """The channel vectors at these places times the product of the weights; zero outside if so padded."""
    factors = [w for w in weights if w is not None]
    bounded = []
    for place, size in zip(places, x.shape[1:-1], strict=True):
        if padding == "reflection":
            place = g.unary("ROUND", _mirrored(g, place, size, align))
        kept = g.minimum(g.maximum(place, 0.0), float(size - 1))
        if padding == "zeros":
            factors.append(g.cast(g.compare("EQUAL", kept, place), np.float32))
        bounded.append(g.cast(kept, np.int32))
    batch = np.arange(x.shape[0]).reshape((-1,) + (1,) * (bounded[0].rank - 1))
    rows = g.constant(np.broadcast_to(batch, bounded[0].shape), np.int32)
    at = g.concat([rows, *bounded], bounded[0].rank - 1)
    made = g.op("GATHER_ND", [x, at], (*at.shape[:-1], x.shape[-1]), x.dtype)
    return g.mul(made, reduce(g.mul, factors)) if factors else made


@lowers("DFT")
def dft(g: Graph, node: Node) -> Tensor:
    """[..., n, ..., 1 or 2] -> [..., k, ..., 2]: one constant matrix over the axis and its complex parts."""
    value, out = node.input(0), node.outputs[0]
    inverse, onesided = bool(node.integer("inverse")), bool(node.integer("onesided"))
    if inverse and onesided:
        raise Unsupported("a one-sided inverse transform", "use onesided=0")
    if node.opset < 20:
        axis = node.integer("axis", 1) % value.rank
    else:
        given = node.optional_constant(2, "the axis of the transform")
        axis = value.rank - 2 if given is None else int(given.reshape(())) % value.rank
    length = node.optional(1)
    if onesided and length is not None:
        total = int(node.constant(1, "the length of the transform").reshape(()))
    else:
        total = value.shape[axis] if length is None else out.shape[axis]
    parts = value.shape[-1]
    rows = _fourier(value.shape[axis], out.shape[axis], total, parts, inverse)
    order = (*(i for i in range(value.rank - 1) if i != axis), axis, value.rank - 1)
    x = g.cast(g.view(value, order), computable(value.dtype, frozenset({"float32"})))
    flat = g.reshape(x, (math.prod(x.shape[:-2]), x.shape[-2] * parts))
    made = g.fully_connected(flat, g.constant(rows), None)
    shaped = g.reshape(made, (*x.shape[:-2], out.shape[axis], 2))
    return g.cast(g.transpose(shaped, tuple(order.index(i) for i in range(value.rank))), out.dtype)


def _fourier(size: int, out: int, total: int, parts: int, inverse: bool) -> np.ndarray:
    """[out * 2, size * parts]: cos and sin of 2 pi j k / total, zero for inputs beyond the length."""
    k, j = np.arange(out)[:, None], np.arange(size)[None, :]
    angle = 2 * np.pi * (j * k % total) / total * (1 if inverse else -1)
    live = (j < total) / (total if inverse else 1)
    real, imaginary = np.cos(angle) * live, np.sin(angle) * live
    made = np.zeros((out, 2, size, parts))
    made[:, 0, :, 0], made[:, 1, :, 0] = real, imaginary
    if parts == 2:
        made[:, 0, :, 1], made[:, 1, :, 1] = -imaginary, real
    return made.reshape(out * 2, size * parts).astype(np.float32)
