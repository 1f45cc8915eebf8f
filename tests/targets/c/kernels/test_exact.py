"""8 bits by one integer multiplication: every sum that can occur has the code that float32 gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sprue.targets.c.kernels.dot import cut, packed_blocks
from sprue.targets.c.kernels.exact import MOST_SUM, SCALE, Codes, Exact, exact, float_codes, sums_of

Array = NDArray[Any]
INPUTS = (-128, 127)


def layer(seed: int, channels: int, depth: int, steps: float) -> tuple[Array, Array, Array]:
    """Weights, biases, and factors with which the codes span about `steps` of the sums' range."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 127, (channels, depth), np.int8, endpoint=True)
    bias = rng.integers(-5000, 5000, channels).astype(np.int32)
    spread = 128 * np.abs(weights.astype(np.int64)).sum(axis=1) + 1
    factors = (255 * steps / spread * rng.uniform(0.5, 1, channels)).astype(np.float32)
    return weights, bias, factors


def integer_codes(made: Exact, channel: int, sums: Array, bias: Array) -> Array:
    """What SMMLA and SSAT do, or VMUL and VCVTR, to all `sums` of a channel."""
    if not made.weights[channel].any():
        sums = np.zeros_like(sums)
    large = SCALE * (sums - bias[channel] * made.weights[channel].any()) + made.biases[channel]
    assert np.abs(large).max() < 2**31
    factor = made.factors[channel]
    if factor < 0:
        real = np.int32(factor & 0x7FFFFFFF).view(np.float32)
        code = float_codes(large, np.float32(real), made.codes.zero)
    else:
        code = (((large * int(factor)) >> 32) + made.centre) >> made.shift
        exact_code = (large * int(factor) + made.centre * 2**32) >> (32 + made.shift)
        np.testing.assert_array_equal(code, exact_code)
    clipped: Array = np.clip(code, made.codes.low, made.codes.high)
    return clipped


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    depth=st.sampled_from((1, 3, 9, 40)),
    steps=st.sampled_from((0.001, 0.3, 2.0, 40.0)),
    codes=st.sampled_from((Codes(-128, -128, 127), Codes(7, -128, 127), Codes(131, 0, 255), Codes(0, 0, 47))),
    block=st.sampled_from((1, 2)),
)
def test_every_sum_has_the_code_that_floats_give(
    seed: int, depth: int, steps: float, codes: Codes, block: int
) -> None:
    weights, bias, factors = layer(seed, 3, depth, steps)
    made = exact(weights, bias, INPUTS, factors, codes, block)
    if made is None:  # all channels are constant, or all stay in floats
        return
    sums = sums_of(weights, bias, INPUTS)
    for channel in range(len(weights)):
        every = np.arange(sums.least[channel], sums.most[channel] + 1)
        wanted = np.clip(float_codes(every, factors[channel], codes.zero), codes.low, codes.high)
        np.testing.assert_array_equal(integer_codes(made, channel, every, bias), wanted)


def test_most_channels_of_trained_sizes_need_no_floats() -> None:
    weights, bias, _ = layer(5, 256, 64, 1.0)
    factors = np.random.default_rng(5).uniform(2**-9, 2**-7, 256).astype(np.float32)
    made = exact(weights, bias, INPUTS, factors, Codes(-128, -128, 127))
    assert made is not None
    assert (made.factors > 0).mean() > 0.8


def test_channels_of_one_block_are_of_one_kind() -> None:
    weights, bias, factors = layer(6, 60, 200, 8.0)
    alone, paired = (exact(weights, bias, INPUTS, factors, Codes(-128, -128, 127), b, 4) for b in (1, 2))
    assert alone is not None
    assert paired is not None
    assert alone.mixed, "shows nothing unless some channel stays in floats"
    for group in np.sign(paired.factors).reshape(4, 15):
        np.testing.assert_array_equal(group[:14:2], group[1::2])
    assert (paired.factors[alone.factors < 0] < 0).all()


def test_a_channel_that_no_input_changes_has_no_weights() -> None:
    weights, bias, factors = layer(7, 2, 9, 3.0)
    factors[1], bias[1] = 1e-9, 2**30
    made = exact(weights, bias, INPUTS, factors, Codes(-128, -128, 127))
    assert made is not None
    assert not made.weights[1].any()
    wanted = float_codes(np.array([2**30]), factors[1:], -128)
    np.testing.assert_array_equal(integer_codes(made, 1, np.array([2**30]), bias), wanted)


def test_sums_that_might_not_fit_are_left_to_floats() -> None:
    weights, bias, factors = layer(8, 2, 9, 3.0)
    bias[0], factors[0] = MOST_SUM, 1e-5
    assert exact(weights, bias, INPUTS, factors, Codes(-128, -128, 127)) is None


@pytest.mark.parametrize(("second", "fits"), [(-127, True), (-128, False)])
def test_two_weights_share_a_half_unless_one_is_minus_128(second: int, fits: bool) -> None:
    weights, bias, factors = layer(9, 2, 4, 3.0)
    weights[0, 2], weights[1, 2] = -1, second
    made = exact(weights, bias, INPUTS, factors, Codes(-128, -128, 127), 2)
    assert made is not None
    blocks = packed_blocks(made.weights[None], 2, cut(4), made)
    assert (blocks is not None) == fits
    if blocks is not None:
        halves = blocks[2:-2].view(np.int16).astype(np.int64)
        np.testing.assert_array_equal(halves, 256 * weights[1].astype(np.int64) + weights[0])
