"""DFT and STFT as products with a constant matrix; windows and ranges of a length that is declared."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sprue.passes.definitions.writer import NotDefined, Writer
from sprue.passes.fold import MAX_FOLDED

Matrix = NDArray[np.float64]
LARGEST = 1 << 22
"""Elements of a matrix; a longer transform would be a fast one."""


def dft(w: Writer) -> None:
    shape = w.shape()
    inverse, onesided = bool(w.integer("inverse", 0)), bool(w.integer("onesided", 0))
    axis = int(w.value(2).reshape(())) if w.has(2) else w.integer("axis", 1 if w.opset < 20 else -2)
    axis, last = axis % len(shape), len(shape) - 1
    if axis == last:
        raise NotDefined
    given = shape[axis]
    halved = inverse and onesided
    length = int(w.value(1).reshape(())) if w.has(1) else 2 * (given - 1) if halved else given
    matrix = _matrix(given, shape[-1], length, inverse=inverse, onesided=onesided)
    order = [a for a in range(last) if a != axis] + [axis, last]
    moved = [shape[a] for a in order]
    flat = w.reshape(w.transpose(w.x(), order), [math.prod(moved[:-2]), given * shape[-1]])
    product = w.op("MatMul", flat, _flat(w, matrix))
    made = w.reshape(product, [*moved[:-2], *matrix.shape[2:]])
    w.result(w.transpose(made, [order.index(a) for a in range(len(shape))]))


def stft(w: Writer) -> None:
    """[batch, samples, 1 or 2] -> [batch, frames, bins, 2]."""
    batch, samples, parts = (*w.shape(), 1)[:3]
    step = int(w.value(1).reshape(()))
    window = w.value(2).astype(np.float64) if w.has(2) else None
    length = int(w.value(3).reshape(())) if w.has(3) else window.size if window is not None else samples
    if window is not None and window.size != length:
        raise NotDefined
    frames = 1 + (samples - length) // step
    matrix = _matrix(length, parts, length, inverse=False, onesided=bool(w.integer("onesided", 1)))
    if window is not None:
        matrix = matrix * window[:, None, None, None]
    places = np.arange(frames)[:, None] * step + np.arange(length)
    framed = w.reshape(w.gather(w.x(), places, 1), [batch * frames, length * parts])
    w.result(w.reshape(w.op("MatMul", framed, _flat(w, matrix)), [batch, frames, *matrix.shape[2:]]))


def _matrix(given: int, parts: int, length: int, *, inverse: bool, onesided: bool) -> Matrix:
    """[given, parts, bins, results]: what each number of the input adds to each of the result."""
    if inverse and onesided:
        return _real_inverse(given, parts, length)
    bins = length // 2 + 1 if onesided else length
    if given * parts * bins * 2 > LARGEST:
        raise NotDefined
    turn = 2 * np.pi * np.outer(np.arange(given), np.arange(bins)) / length * (1 if inverse else -1)
    turn = np.where(np.arange(given)[:, None] < length, turn, np.nan)  # what is beyond the length is cropped
    scale = 1 / length if inverse else 1
    real, imaginary = np.nan_to_num(np.cos(turn)) * scale, np.nan_to_num(np.sin(turn)) * scale
    rows = [np.stack([real, imaginary], axis=-1), np.stack([-imaginary, real], axis=-1)]
    return np.stack(rows[:parts], axis=1)


def _real_inverse(given: int, parts: int, length: int) -> Matrix:
    """Of bins 0 to length / 2; those between stand for their mirrored twins, too."""
    bins = length // 2 + 1
    if parts != 2 or given * 2 * length > LARGEST:
        raise NotDefined
    k = np.arange(given)
    twice = np.where((k == 0) | (2 * k == length), 1.0, 2.0) * (k < bins) / length
    turn = 2 * np.pi * np.outer(k, np.arange(length)) / length
    matrix = np.stack([np.cos(turn), -np.sin(turn)], axis=1) * twice[:, None, None]
    made: Matrix = matrix[..., None]
    return made


def _flat(w: Writer, matrix: Matrix) -> str:
    given, parts, bins, results = matrix.shape
    return w.like(matrix.reshape(given * parts, bins * results))


def window(w: Writer) -> None:
    """The window's length is what its input says; where the graph declares it, the window is a constant."""
    size = _length(w)
    if w.integer("output_datatype", 1) != 1:
        raise NotDefined
    divisor = size if w.integer("periodic", 1) else size - 1
    turn = 2 * np.pi * np.arange(size) / max(divisor, 1)
    first, second = WINDOWS[w.node.op_type]
    values = first - second * np.cos(turn)
    if w.node.op_type == "BlackmanWindow":
        values = values + 0.08 * np.cos(2 * turn)
    w.result(w.constant(values, np.float32))


def _length(w: Writer) -> int:
    """Of the result's one axis, where the graph declares it and it may be stored."""
    shape = w.shapes.get(w.node.output[0])
    if shape is None or len(shape) != 1 or shape[0] > MAX_FOLDED:
        raise NotDefined
    return shape[0]


WINDOWS = {"BlackmanWindow": (0.42, 0.5), "HammingWindow": (25 / 46, 21 / 46), "HannWindow": (0.5, 0.5)}


def range_(w: Writer) -> None:
    """start + i * delta, where the graph declares how many there are."""
    steps = w.like(np.arange(_length(w)))
    w.result(w.op("Add", w.x(0), w.op("Mul", w.x(2), steps)))


DEFINITIONS = {"DFT": dft, "STFT": stft, "Range": range_, **dict.fromkeys(WINDOWS, window)}
