"""The int8 kernels for RISC-V equal onnxruntime in every element, as plain C and in RV32's instructions."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import ModelProto, numpy_helper
from sprue.targets.c import BACKEND
from sprue.targets.c.kernels.registers import LEAST, MOST, runs

from sprue.backend import Variant
from sprue.target import load_target

from ..host import Program, build
from ..models import Array, kernels, reference, source, sources
from ..test_integer_kernels import CASES, convolution, product

Case = tuple[ModelProto, ModelProto, dict[str, Array]]
BOARD = Variant(load_target("riscv32f"), "c", "float32")


def with_weights(case: Case, value: int) -> Case:
    """The same convolution with one weight everywhere."""
    for model in case[:2]:
        (stored,) = (i for i in model.graph.initializer if i.name == "w")
        stored.CopyFrom(numpy_helper.from_array(np.full(tuple(stored.dims), value, np.int8), "w"))
    return case


KERNELS = {
    "conv 3x3": "conv_registers_int8",
    "conv in groups, odd outputs": "conv_registers_int8",
    "conv 1x1 in place": "conv_registers_int8",
    "depthwise conv in place": "conv_depthwise_registers_int8",
    "depthwise conv with stride": "conv_depthwise_registers_int8",
    "depthwise conv with dilation": "conv_depthwise_registers_int8",
    "depthwise conv of one dimension": "conv_depthwise_registers_int8",
    "matmul": "linear_registers_int8",
    "conv of uint8": "conv_tiled_int8",
}
EVERY: dict[str, Case] = {
    **{name: CASES[name] for name in KERNELS},
    "conv whose sums fill 16 bits": with_weights(convolution((1, 6, 5, 4), (4, 6, 1, 1)), -128),
    "conv of small weights": with_weights(convolution((1, 21, 5, 5), (7, 21, 3, 3), pads=[0, 1, 1, 0]), -9),
    "conv of two pixels": convolution((1, 9, 1, 2), (5, 9, 1, 1)),
    "conv of three pixels": convolution((1, 33, 3, 1), (4, 33, 1, 1)),
    "conv of one pixel": convolution((1, 40, 3, 3), (5, 40, 3, 3)),
    "matmul of one row": product(1, 1, 37, 11),
    "matmul of two rows": product(1, 2, 3, 5),
    "matmul of four rows": product(1, 4, 22, 7),
}
ON_THE_DEVICE = [
    "conv 3x3",
    "conv in groups, odd outputs",
    "depthwise conv in place",
    "depthwise conv with stride",
    "conv whose sums fill 16 bits",
    "conv of small weights",
    "conv of two pixels",
    "matmul of one row",
    "matmul of four rows",
]


@given(arrays(np.int8, array_shapes(min_dims=2, max_dims=2, max_side=24)))
def test_no_run_of_products_outgrows_its_half_of_a_word(rows: Array) -> None:
    cut = runs(rows)
    assert cut.run >= min(2, rows.shape[1]), "two products fit, whatever the weights"
    filled = np.pad(rows, ((0, 0), (0, cut.padded - rows.shape[1]))).astype(np.int64)
    weights = filled.reshape(len(rows), cut.count, cut.run)
    for towards in (weights < 0, weights > 0):  # the inputs that make each sum the smallest, and the largest
        sums = (weights * np.where(towards, MOST, LEAST)).sum(axis=2)
        assert ((sums + cut.low >= 0) & (sums + cut.low < 2**16)).all()
        assert ((sums + cut.high >= -(2**15)) & (sums + cut.high < 2**15)).all()


@given(st.integers(1, 2), st.integers(1, 700), st.integers(-128, 127))
def test_runs_are_filled_up_with_less_than_a_round(rows: int, depth: int, weight: int) -> None:
    cut = runs(np.full((rows, depth), weight, np.int8))
    assert cut.count % cut.written == 0
    assert 0 <= cut.padded - depth < cut.run * cut.written


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    made = sources((model for model, _, _ in EVERY.values()), registers=True)
    return build(tmp_path_factory.mktemp("registers"), made)


@pytest.mark.parametrize("name", KERNELS)
def test_cores_with_many_registers_get_kernels_of_their_own(name: str) -> None:
    assert kernels(EVERY[name][0], registers=True) == [KERNELS[name]]


@pytest.mark.parametrize("name", ["conv of three pixels", "conv of small weights"])
def test_instructions_stand_in_strings_that_iso_c_allows(name: str) -> None:
    text = source(EVERY[name][0], "m", registers=True).files["m.c"]
    statements = re.findall(r"__asm__\((.*?)\n +:", text, re.DOTALL)
    longest = max(
        len("".join(re.findall('"(.*?)"', s)).encode().decode("unicode_escape")) for s in statements
    )
    assert 500 < longest <= 4095


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
@pytest.mark.parametrize("name", EVERY)
def test_as_plain_c_every_element_equals_onnxruntimes(name: str, program: Program) -> None:
    _, theirs, feeds = EVERY[name]
    for fed in (feeds, {"x": np.full_like(feeds["x"], np.iinfo(feeds["x"].dtype).min)}):
        (wanted,) = reference(theirs, fed).values()
        np.testing.assert_array_equal(program.run(list(EVERY).index(name), fed)["y0"], wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_THE_DEVICE)
def test_in_instructions_of_rv32_every_element_equals_onnxruntimes(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="needs the extra embedded")
    pytest.importorskip("unicorn", reason="needs the extra embedded")
    ours, theirs, feeds = EVERY[name]
    BACKEND.compile(ours, BOARD, feeds, tmp_path)
    device = BACKEND.load(tmp_path, BOARD)
    for fed in (feeds, {"x": np.full_like(feeds["x"], np.iinfo(feeds["x"].dtype).min)}):
        (wanted,) = reference(theirs, fed).values()
        np.testing.assert_array_equal(device.run(fed)["y0"], wanted)
