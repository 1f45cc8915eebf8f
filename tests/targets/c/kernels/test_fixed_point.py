"""Scales as fixed-point numbers, and when there are none. What they compute is in test_litert_int8.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sprue.targets.c.kernels.fixed_point import fixed_factors

from ..host import build
from ..models import Array, chain, source
from ..test_integer_kernels import convolution


@given(st.floats(2.0**-31, 1.0, exclude_max=True))
def test_a_factor_is_kept_to_31_bits(real: float) -> None:
    factors = fixed_factors(np.array([real]))
    if factors is None:  # what rounds up to 1
        assert real > 1 - 2.0**-31
        return
    multiplier, shift = int(factors[0]) & 0xFFFFFFFF, int(factors[0]) >> 32
    assert 1 << 30 <= multiplier < 1 << 31
    assert 0 <= shift <= 31
    assert abs(multiplier * 2.0 ** (-31 - shift) - real) <= real * 2.0**-31


def test_a_factor_of_one_or_more_has_no_such_form() -> None:
    assert fixed_factors(np.array([0.5, 1.0])) is None


def test_a_factor_that_makes_nothing_of_any_sum_is_zero() -> None:
    factors = fixed_factors(np.array([2.0**-40]))
    assert factors is not None
    assert factors.tolist() == [0]


def test_only_sums_whose_factors_are_below_one_are_multiplied_in_fixed_point() -> None:
    for result_scale, wanted in ((0.5, "sprue_requantize("), (0.0001, "sprue_quantize(")):
        x = np.zeros((1, 8), np.int8)
        constants: dict[str, Array] = {
            "xs": np.array(0.1, np.float32), "xz": np.array(0, np.int8),
            "w": np.ones((8, 4), np.int8), "ws": np.array(0.1, np.float32), "wz": np.array(0, np.int8),
            "ys": np.array(result_scale, np.float32), "yz": np.array(0, np.int8),
        }  # fmt: skip
        nodes = [
            helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["a"], "dq_x"),
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["b"], "dq_w"),
            helper.make_node("MatMul", ["a", "b"], ["c"], "matmul"),
            helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["y0"], "q"),
        ]
        model = chain(nodes, {"x": x}, constants, "y0", TensorProto.INT8)
        text = source(model, "m0", fixed_point=True).files["m0.c"]
        assert f"(int8_t){wanted}" in text.replace("sprue_limited(", "")
        assert ("float *restrict scale" in text) == (wanted == "sprue_quantize(")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
def test_of_a_hundred_thousand_sums_few_differ_from_those_in_float_and_by_one(tmp_path: Path) -> None:
    """The figure in docs/embedded.md: it rounds twice, and halves otherwise."""
    model, _, feeds = convolution((1, 64, 20, 20), (256, 64, 1, 1))
    program = build(tmp_path, [source(model, "m0", fixed_point=True), source(model, "m1")])
    fixed, floats = (program.run(i, feeds)["y0"].astype(int) for i in range(2))
    assert fixed.size == 102_400
    assert np.abs(fixed - floats).max() == 1
    assert 0.0005 < (fixed != floats).mean() < 0.005
