"""Integer products: exact, in int32 or in float32 pieces that are; or as QDQ pairs around the plain operator.

Pairs are what backends fold into kernels of their own, so QLinearConv and QLinearMatMul become what a
quantizer would have written in the other format, wherever such kernels could take them. Elsewhere the sums
are those of ONNX, to the last integer: a float32 holds them up to 2^24, and longer sums are cut into parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from sprue.passes.definitions.writer import NotDefined, Writer

EXACT = 1 << 24
"""Up to here float32 holds every integer."""
FARTHEST = 255
"""Of an 8-bit number from its zero point."""
PER_AXIS = 13
"""The operator set since which DequantizeLinear has scales along an axis."""
X, W, Y, BIAS = 0, 3, 6, 8
"""QLinear operators: positions of the tensors. Scale and zero point follow X and W; Y is only those two."""


def matmul_integer(w: Writer) -> None:
    a = _centred(w, 0, 2, np.int32, -2)
    b = _centred(w, 1, 3, np.int32, -1)
    w.result(w.op("MatMul", a, b))


def qlinear_matmul(w: Writer) -> None:
    a = _centred(w, X, X + 2, np.int32, -2)
    b = _centred(w, W, W + 2, np.int32, -1)
    _requantized(w, w.op("MatMul", a, b))


def conv_integer(w: Writer) -> None:
    w.result(w.cast(_convolution(w, 0, 1, 2, 3), np.int32))


def qlinear_conv(w: Writer) -> None:
    """The bias is int32, in the scale of the product."""
    for position in (X + 1, Y):
        if w.shape(position) not in ((), (1,)):
            raise NotDefined
    made = _convolution(w, X, W, X + 2, W + 2)
    rank = len(w.shape())
    if w.has(BIAS):
        bias = w.reshape(w.x(BIAS), [1, -1, *[1] * (rank - 2)])
        made = w.op("Add", w.cast(made, np.int32), w.cast(bias, np.int32))
    _requantized(w, made, channels=rank)


def conv_pairs(w: Writer) -> None:
    """DequantizeLinear -> Conv -> QuantizeLinear, the bias dequantized by the product of the scales."""
    x, kernel = _dequantized(w, X), _dequantized(w, W, axis=0)
    bias = []
    if w.has(BIAS):
        scale = np.multiply(_known(w, X + 1), _known(w, W + 1)).ravel()
        scale = np.broadcast_to(scale, w.shape(BIAS)) if w.opset >= PER_AXIS else scale.reshape(())
        axis = {"axis": 0} if w.opset >= PER_AXIS else {}
        bias = [w.op("DequantizeLinear", w.x(BIAS), w.constant(scale, np.float32), **axis)]
    _quantized(w, w.again("Conv", [x, kernel, *bias])[0])


def matmul_pairs(w: Writer) -> None:
    if len(w.shape(X)) < 2 or len(w.shape(W)) != 2:
        raise NotDefined
    _quantized(w, w.op("MatMul", _dequantized(w, X), _dequantized(w, W, axis=1)))


def _known(w: Writer, position: int) -> NDArray[np.float32]:
    return np.asarray(w.value(position), np.float32)


def _dequantized(w: Writer, position: int, axis: int | None = None) -> str:
    """A tensor as a number: one scale for all of it, or for weights (with an `axis`) one for each channel.

    Raises NotDefined for weights that no int8 kernel takes: computed, or beyond int8 around the zero point.
    """
    scale, zero = _known(w, position + 1).ravel(), w.value(position + 2).ravel()
    count = max(scale.size, zero.size)
    given = {}
    if axis is None and count != 1:
        raise NotDefined
    if axis is not None:
        stored = np.moveaxis(w.value(position).astype(np.int32), axis, -1) - zero.astype(np.int32)
        if min(stored.min(initial=0) + 128, 127 - stored.max(initial=0)) < 0:
            raise NotDefined
    if count > 1:
        if w.opset < PER_AXIS:
            raise NotDefined
        given = {"axis": axis}
    shape = (count,) if count > 1 else ()
    parameters = [np.broadcast_to(p, (count,)).reshape(shape) for p in (scale, zero)]
    return w.op("DequantizeLinear", w.x(position), *(w.constant(p) for p in parameters), **given)


def _quantized(w: Writer, real: str) -> None:
    scale, zero = _known(w, Y), w.value(Y + 1)
    if scale.size != 1 or zero.size != 1:
        raise NotDefined
    w.result(w.op("QuantizeLinear", real, w.constant(scale.reshape(())), w.constant(zero.reshape(()))))


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
    """The sums, in float32 where one holds them, else in int32."""
    rest = w.shape(kernel)[1:]
    pixels = w.cast(w.x(x), np.float32)
    if w.has(x_zero):
        pixels = w.op("Sub", pixels, w.cast(w.reshape(w.x(x_zero), [1]), np.float32))
    weights = w.cast(w.x(kernel), np.float32)
    if w.has(kernel_zero):
        count = math.prod(w.shape(kernel_zero))
        wide = [count, *[1] * len(rest)] if count > 1 else [1]
        weights = w.op("Sub", weights, w.cast(w.reshape(w.x(kernel_zero), wide), np.float32))
    parts = [
        w.again(
            "Conv", [w.slice(pixels, 1, *part), w.slice(weights, 1, *part)] if part else [pixels, weights]
        )
        for part in _parts(w, kernel, kernel_zero)
    ]
    total = parts[0][0]
    for part in parts[1:]:
        total = w.op("Add", w.cast(total, np.int32), w.cast(part[0], np.int32))
    return total


def _parts(w: Writer, kernel: int, zero: int) -> Iterator[tuple[int, int] | None]:
    """Ranges of input channels over which float32 is exact; None for all at once."""
    channels, *window = w.shape(kernel)[1:]
    if _farthest(w, kernel, zero) * FARTHEST < EXACT:
        yield None
        return
    each = EXACT // (FARTHEST * FARTHEST * math.prod(window) + 1)
    if not each or w.integer("group", 1) != 1:
        raise NotDefined
    for start in range(0, channels, each):
        yield start, min(start + each, channels)


def _farthest(w: Writer, kernel: int, zero: int) -> int:
    """The largest sum of one channel's weights, all of one sign, around their zero point."""
    known = w.x(kernel) in w.constants and (not w.has(zero) or w.x(zero) in w.constants)
    if not known:
        return math.prod(w.shape(kernel)[1:]) * FARTHEST
    flat = w.value(kernel).astype(np.int64).reshape(w.shape(kernel)[0], -1)
    offset = w.value(zero).astype(np.int64).reshape(-1, 1) if w.has(zero) else 0
    return int(np.abs(flat - offset).sum(axis=1).max(initial=0))


def _requantized(w: Writer, product: str, channels: int = 0) -> None:
    """round(product * a * b / y) + zero point, saturated. Rounds half to even."""
    a, b, y = (_scale(w, p, channels if p == W + 1 else 0) for p in (X + 1, W + 1, Y))
    factor = w.op("Div", w.op("Mul", a, b), y)
    scaled = w.op("Mul", w.cast(product, np.float32), factor)
    w.result(w.op("QuantizeLinear", scaled, w.constant(1, np.float32), w.reshape(w.x(Y + 1), [])))


def _scale(w: Writer, position: int, channels: int) -> str:
    count = math.prod(w.shape(position))
    if count > 1 and not channels:
        raise NotDefined
    wide = [1, count, *[1] * (channels - 2)] if count > 1 else [1]
    return w.cast(w.reshape(w.x(position), wide), np.float32)


def _pairs_or(pairs: Callable[[Writer], None], exact: Callable[[Writer], None]) -> Callable[[Writer], None]:
    def form(w: Writer) -> None:
        try:
            pairs(w)
        except NotDefined:
            w.made.clear()
            exact(w)

    return form


DEFINITIONS = {
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}
FORMS = {
    "QLinearConv": _pairs_or(conv_pairs, qlinear_conv),
    "QLinearMatMul": _pairs_or(matmul_pairs, qlinear_matmul),
}
"""Of a backend with integer kernels of its own."""
