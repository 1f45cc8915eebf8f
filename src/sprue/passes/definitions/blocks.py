"""QuantizeLinear and DequantizeLinear in blocks: scales and zero points repeated, then plain arithmetic."""

from __future__ import annotations

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer


def quantize(w: Writer) -> None:
    """round(x / scale) + zero point, saturated."""
    scale, zero = _operands(w)
    if not w.has(2) or w.dtype(2).name not in ("int8", "uint8", "int16", "uint16"):
        raise NotDefined
    limits = np.iinfo(w.dtype(2).name)
    low, high = (w.constant(v, np.float32) for v in (limits.min, limits.max))
    moved = w.op("Add", w.op("Round", w.op("Div", w.x(), scale)), zero)
    w.result(w.cast(w.op("Min", w.op("Max", moved, low), high), w.dtype(2)))


def dequantize(w: Writer) -> None:
    """(x - zero point) * scale."""
    scale, zero = _operands(w)
    if w.dtype(0).name not in ("int8", "uint8", "int16", "uint16"):
        raise NotDefined
    w.result(w.op("Mul", w.op("Sub", w.cast(w.x(), np.float32), zero), scale))


def _operands(w: Writer) -> tuple[str, str]:
    """Scale and zero point in the shape of x, as float32."""
    block = w.integer("block_size", 0)
    if not block or w.dtype(1) != np.float32:
        raise NotDefined
    axis = w.integer("axis", 1) % len(w.shape())
    places = np.arange(w.shape()[axis]) // block
    zero = w.cast(w.gather(w.x(2), places, axis), np.float32) if w.has(2) else w.constant(0, np.float32)
    return w.gather(w.x(1), places, axis), zero


FORMS = {"DequantizeLinear": dequantize, "QuantizeLinear": quantize}
