"""Scales as fixed-point numbers, for processors without floats: the arithmetic of TFLite's own kernels.

A factor below 1 is m * 2^-31 * 2^-s with m of 31 bits. A sum times m is rounded half up to a multiple of
2^31, then shifted by s and rounded half away from zero (runtime/requantize.c), as in TFLite Micro.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 31


def fixed_factors(real: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Each factor as m + s * 2^32. None where one is 1 or more: TFLite would shift sums left."""
    fraction, exponent = np.frexp(real)
    multiplier = np.floor(fraction * 2.0**BITS + 0.5).astype(np.int64)
    full = multiplier == 1 << BITS
    multiplier = np.where(full, multiplier >> 1, multiplier)
    shift = -(exponent + full).astype(np.int64)
    if (shift < 0).any():
        return None
    gone = shift > BITS  # too small to make any sum 1
    made: NDArray[np.int64] = np.where(gone, 0, multiplier) + (np.where(gone, 0, shift) << 32)
    return made
