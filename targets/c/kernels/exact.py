"""int32 sums to 8 bits by one integer multiplication, where that is proven to give what floats give.

Both ways are staircases: for each code there is a smallest sum that reaches it. With floats the code of a sum
is rint(float32(sum * factor)) + zero. With integers, of sums that kernels make 256 times as large, it is
(multiplier * (256 * sum + offset) + centre * 2^32) >> (32 + shift). They agree in every sum that can occur if
and only if they step at the same sums, which for a given offset is an interval of multipliers. Where rounding
of float32 moves a step so far that no multiplier with any of the offsets follows, a channel stays in floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..nodes import Array

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]

SCALE = 256
"""What sums are multiplied by: it makes offsets finer than a unit of them."""
MOST_SUM = 2**23 - 2**16
"""256 times as much, and the sum of a block's two rows beside it (dot.py), fit int32."""
MOST_OFFSET = 127
"""It and its opposite fit the byte that a block has for them."""
TRIALS = 8
"""Halvings of so many offsets until one is left."""
SMALLEST = 2.0**-100
"""Of factors: a 256th of it is a normal float32."""
MOST_SHIFT = 20
"""With it the products of the proof fit int64, and what stands for a constant fits int32."""
ONE = 2**30
"""The multiplier of channels whose code no input changes."""
BEYOND = 2**62


@dataclass(frozen=True)
class Codes:
    """Of a result: its zero point, its lowest and its highest code."""

    zero: int
    low: int
    high: int


@dataclass(frozen=True)
class Exact:
    """A layer scaled so. `weights` int8 [channels, ...], zeros where no input changes the code.

    `biases` [channels]: what sums of 256 times the products begin with. `factors` int32 [channels]:
    multipliers; where negative, the bits of the float32 that such a sum is multiplied by, their sign set.
    """

    weights: Array
    biases: Integers
    factors: NDArray[np.int32]
    codes: Codes
    shift: int

    @property
    def centre(self) -> int:
        """The zero point and the half that rounds, in units of 2^-shift."""
        return (self.codes.zero << self.shift) + (1 << (self.shift - 1))

    @property
    def mixed(self) -> bool:
        """Whether some channels stay in floats."""
        return bool(np.any(self.factors < 0))


@dataclass(frozen=True)
class Sums:
    """The smallest and the largest sum of each channel, and what no part of it exceeds in size."""

    least: Integers
    most: Integers
    size: Integers


def sums_of(weights: Array, bias: Array, inputs: tuple[int, int]) -> Sums:
    """`weights` int8 [channels, ...], `bias` int32 [channels]; `inputs`: the smallest and the largest."""
    start = bias.astype(np.int64)
    products = weights.reshape(len(weights), -1).astype(np.int64)[..., None] * np.array(inputs)
    least, most = start + products.min(axis=2).sum(axis=1), start + products.max(axis=2).sum(axis=1)
    return Sums(least, most, np.abs(start) + np.abs(products).max(axis=2).sum(axis=1))


def exact(
    weights: Array, bias: Array, inputs: tuple[int, int], factors: Floats, codes: Codes,
    block: int = 1, groups: int = 1,
) -> Exact | None:  # fmt: skip
    """None where sums may grow too large, or no channel could do without floats.

    Arguments as of `sums_of`; `factors` [channels]. In each of the `groups`, so many neighbouring channels as
    `block` are of one kind.
    """
    arrays = tuple((a.tobytes(), a.dtype.str, a.shape) for a in (weights, bias, factors))
    return _exact(arrays, inputs, codes, block, groups)


@lru_cache(maxsize=1)  # a convolution is lowered for several tiles in turn, to which this is the same
def _exact(
    arrays: tuple[tuple[bytes, str, tuple[int, ...]], ...], inputs: tuple[int, int], codes: Codes,
    block: int, groups: int,
) -> Exact | None:  # fmt: skip
    weights, bias, factors = (np.frombuffer(data, dtype).reshape(shape) for data, dtype, shape in arrays)
    shift = min(7 - int(np.ceil(np.log2(float(factors.max())))), MOST_SHIFT)
    if shift < 1 or float(factors.min()) < SMALLEST or codes.low == codes.high:
        return None
    sums = sums_of(weights, bias, inputs)
    first, last = (
        np.clip(float_codes(s, factors, codes.zero), codes.low, codes.high) for s in (sums.least, sums.most)
    )
    constant = (first == last) & (sums.size < 2**31)
    if constant.all() or (sums.size[~constant] > MOST_SUM).any():
        return None
    multipliers, offsets = _multipliers(factors, sums, codes, shift)
    multipliers = np.where(constant, ONE, multipliers)
    single = np.where(constant, np.float32(1), factors / np.float32(SCALE)).astype(np.float32)
    for part in _blocks(len(factors) // groups, block, groups):
        if (multipliers[part] < 0).any():
            multipliers[part] = (single[part].view(np.uint32) | np.uint32(1 << 31)).view(np.int32)
    floats = multipliers < 0
    if floats.all():
        return None
    varying = SCALE * bias.astype(np.int64) + np.where(floats, 0, offsets)
    steady = (first - codes.zero) << np.where(floats, 0, shift + 2)
    biases = np.where(constant, steady, varying)
    kept = np.where(constant.reshape(-1, *[1] * (weights.ndim - 1)), np.int8(0), weights)
    return Exact(kept, biases, multipliers.astype(np.int32), codes, shift)


def float_codes(sums: Integers, factors: Floats, zero: int) -> Integers:
    """As runtime/quantize.c, but for saturation."""
    made: Integers = np.rint(sums.astype(np.float32) * factors).astype(np.int64) + zero
    return made


def _blocks(size: int, block: int, groups: int) -> list[slice]:
    starts = [(g * size, i) for g in range(groups) for i in range(0, size, block)]
    return [slice(first + i, first + min(i + block, size)) for first, i in starts]


def _multipliers(factors: Floats, sums: Sums, codes: Codes, shift: int) -> tuple[Integers, Integers]:
    """The multiplier of each channel, -1 where there is none, and its offset."""
    steps, found = _steps(factors, sums, codes)
    ideal = np.rint(factors.astype(np.float64) * 2.0 ** (24 + shift)).astype(np.int64)
    multipliers, offsets = np.full(len(factors), -1, np.int64), np.zeros(len(factors), np.int64)
    low, high = offsets - MOST_OFFSET, offsets + MOST_OFFSET
    for _ in range(TRIALS):
        rest = np.flatnonzero((multipliers < 0) & found & (low <= high))
        if not len(rest):
            break
        some = Sums(sums.least[rest, None], sums.most[rest, None], sums.size[rest])
        lowest, highest, upwards = _interval(steps[rest], some, codes, offsets[rest, None], shift)
        possible = lowest <= highest
        multipliers[rest[possible]] = np.clip(ideal[rest], lowest, highest)[possible]
        rest, upwards = rest[~possible], upwards[~possible]
        low[rest] = np.where(upwards, offsets[rest] + 1, low[rest])
        high[rest] = np.where(upwards, high[rest], offsets[rest] - 1)
        offsets[rest] = (low[rest] + high[rest]) // 2
    return multipliers, offsets


def _steps(factors: Floats, sums: Sums, codes: Codes) -> tuple[Integers, NDArray[np.bool_]]:
    """[channels, codes above the lowest]: the smallest sum that has at least that code with floats, of those
    that occur, or one more than the largest; and whether all of a channel's are proven.
    """
    code = np.arange(codes.low + 1, codes.high + 1, dtype=np.int64)
    single, least, most = factors[:, None], sums.least[:, None], sums.most[:, None]
    about = np.ceil((code - codes.zero - 0.5) / single.astype(np.float64))
    steps = np.clip(about, least, most + 1).astype(np.int64)
    for _ in range(2):  # rounding moves a step by few sums
        lower = (steps > least) & (float_codes(steps - 1, single, codes.zero) >= code)
        steps = np.where(lower, steps - 1, steps)
        higher = (steps <= most) & (float_codes(steps, single, codes.zero) < code)
        steps = np.where(higher, steps + 1, steps)
    missed = (steps == least) | (float_codes(steps - 1, single, codes.zero) < code)
    reached = (steps > most) | (float_codes(steps, single, codes.zero) >= code)
    return steps, (missed & reached).all(axis=1)


def _interval(
    steps: Integers, sums: Sums, codes: Codes, offset: Integers, shift: int
) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """The smallest and the largest multiplier, [channels], with which integers step at `steps`; and whether
    larger offsets bring the two nearer to each other, if there is none.

    A sum reaches a code if multiplier * (256 * sum + offset) >= (2 * (code - zero) - 1) << (31 + shift). For
    each code the smallest sum that is to reach it must, and the largest that is not to must not.
    """
    above = np.arange(codes.low + 1, codes.high + 1, dtype=np.int64) - codes.zero
    wanted = np.broadcast_to((2 * above - 1) << (31 + shift), steps.shape)
    first = SCALE * np.maximum(steps, sums.least) + offset
    last = SCALE * np.minimum(steps - 1, sums.most) + offset
    never, always = steps > sums.most, steps <= sums.least
    lowest, highest = _at_least(first, wanted)
    least, most = _at_least(-last, 1 - wanted)
    low = np.concatenate([np.where(never, 1, lowest), np.where(always, 1, least)], axis=1)
    high = np.concatenate([np.where(never, BEYOND, highest), np.where(always, BEYOND, most)], axis=1)
    at_low, at_high = low.argmax(axis=1)[:, None], high.argmin(axis=1)[:, None]
    # a limit is wanted / sum, so that with the offset it moves by -limit / sum
    inverse = 1.0 / np.where((nearest := np.concatenate([first, last], axis=1)) == 0, 0.5, nearest)
    upwards = np.take_along_axis(inverse, at_low, 1) > np.take_along_axis(inverse, at_high, 1)
    most_low = np.take_along_axis(low, at_low, 1)[:, 0]
    return most_low, np.minimum(np.take_along_axis(high, at_high, 1)[:, 0], 2**31 - 1), upwards[:, 0]


def _at_least(sums: Integers, wanted: Integers) -> tuple[Integers, Integers]:
    """The positive multipliers with multiplier * sum >= wanted: from .. to, which may be below it."""
    divisor = np.where(sums == 0, 1, sums)
    lowest = np.where(sums > 0, np.maximum(-(-wanted // divisor), 1), 1)
    highest = np.where(sums < 0, wanted // divisor, np.where((sums == 0) & (wanted > 0), 0, BEYOND))
    return lowest, highest
