"""Integer products: in int32, or in float32 where every sum is small enough to be exact there."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer

EXACT = 1 << 24
"""Up to here float32 holds every integer."""


def matmul_integer(w: Writer) -> None:
    a = _centred(w, 0, 2, np.int32, -2)
    b = _centred(w, 1, 3, np.int32, -1)
    w.result(w.op("MatMul", a, b))


def qlinear_matmul(w: Writer) -> None:
    """Inputs: a, its scale and zero point, b, its, then those of the result."""
    a = _centred(w, 0, 2, np.int32, -2)
    b = _centred(w, 3, 5, np.int32, -1)
    _requantized(w, w.op("MatMul", a, b), (1, 4, 6), 7)


def conv_integer(w: Writer) -> None:
    w.result(w.cast(_convolution(w, 0, 1, 2, 3), np.int32))


def qlinear_conv(w: Writer) -> None:
    """As above, then an int32 bias in the scale of the product."""
    made = _convolution(w, 0, 3, 2, 5)
    if w.has(8):
        rank = len(w.shape())
        made = w.op("Add", made, w.reshape(w.cast(w.x(8), np.float32), [1, -1, *[1] * (rank - 2)]))
    for position in (1, 6):
        if w.shape(position) not in ((), (1,)):
            raise NotDefined
    _requantized(w, made, (1, 4, 6), 7, channels=len(w.shape()))


def _centred(w: Writer, position: int, zero: int, dtype: type, axis: int) -> str:
    """The stored number minus its zero point, which is one, or one for each row or column."""
    wide = w.cast(w.x(position), dtype)
    if not w.has(zero):
        return wide
    offset = w.cast(w.x(zero), dtype)
    size = math.prod(w.shape(zero))
    if size > 1:
        if len(w.shape(zero)) != 1:
            raise NotDefined
        offset = w.reshape(offset, [size, 1] if axis == -2 else [size])
    elif w.shape(zero):
        offset = w.reshape(offset, [1])
    return w.op("Sub", wide, offset)


def _convolution(w: Writer, x: int, kernel: int, x_zero: int, kernel_zero: int) -> str:
    """In float32; refused where a sum could be too large to be exact."""
    rest = w.shape(kernel)[1:]
    if math.prod(rest) * 255 * 255 >= EXACT:
        raise NotDefined
    pixels = w.cast(w.x(x), np.float32)
    if w.has(x_zero):
        pixels = w.op("Sub", pixels, w.cast(w.reshape(w.x(x_zero), [1]), np.float32))
    weights = w.cast(w.x(kernel), np.float32)
    if w.has(kernel_zero):
        count = math.prod(w.shape(kernel_zero))
        wide = [count, *[1] * len(rest)] if count > 1 else [1]
        weights = w.op("Sub", weights, w.cast(w.reshape(w.x(kernel_zero), wide), np.float32))
    return w.again("Conv", [pixels, weights])[0]


def _requantized(w: Writer, product: str, scales: tuple[int, int, int], zero: int, channels: int = 0) -> None:
    """round(product * a * b / y) + zero point, saturated. Rounds half to even."""
    a, b, y = (_scale(w, p, channels if p == scales[1] else 0) for p in scales)
    factor = w.op("Div", w.op("Mul", a, b), y)
    scaled = w.op("Mul", w.cast(product, np.float32), factor)
    w.result(w.op("QuantizeLinear", scaled, w.constant(1, np.float32), w.reshape(w.x(zero), [])))


def _scale(w: Writer, position: int, channels: int) -> str:
    count = math.prod(w.shape(position))
    if count > 1 and not channels:
        raise NotDefined
    wide = [1, count, *[1] * (channels - 2)] if count > 1 else [1]
    return w.cast(w.reshape(w.x(position), wide), np.float32)


def _at_run_time(definition: Callable[[Writer], None]) -> Callable[[Writer], None]:
    """Only where a scale or a zero point is computed: of constants, a backend may have integer kernels."""

    def form(w: Writer) -> None:
        if all(not w.has(p) or w.x(p) in w.constants for p in (1, 2, 4, 5, 6, 7)):
            raise NotDefined
        definition(w)

    return form


DEFINITIONS = {
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}
FORMS = {
    "QLinearConv": _at_run_time(qlinear_conv),
    "QLinearMatMul": _at_run_time(qlinear_matmul),
}
