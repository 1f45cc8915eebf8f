"""The kernels for hosts, at -O3 and vectorised, under UBSan: the same bits as those for scalar registers."""

from __future__ import annotations

import platform
import shutil

import numpy as np
import pytest

from . import test_integer_kernels, test_kernels
from .host import Program, build, fused
from .models import reference, single, source
from .test_integer_kernels import convolution, product
from .test_kernels import conv, normal, one, recurrent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers"),
    pytest.mark.skipif(platform.machine() != "x86_64" or not fused(), reason="needs x86-64 with FMA"),
]
FLAGS = (
    "-O3", "-mavx2", "-mfma", "--param=max-completely-peel-times=8", "-g0", "-fno-strict-aliasing",
    "-ffp-contract=off", "-fno-math-errno", "-fsanitize=undefined", "-fno-sanitize-recover=all",
)  # fmt: skip
PARTS = ("conv", "gemm", "matmul", "lstm", "softmax", "layer")


def long_lstm() -> test_kernels.Case:
    """More units than a block, and not a multiple."""
    weights = {"w": normal(1, 4 * 19, 6), "r": normal(1, 4 * 19, 19), "b": normal(1, 8 * 19)}
    feeds = {"x": normal(5, 1, 6)}
    return single("LSTM", feeds, weights, outputs=3, hidden_size=19), feeds


FLOAT = {
    **{name: case for name, case in test_kernels.CASES.items() if name.startswith((*PARTS, "depthwise"))},
    "conv of many outputs": conv((1, 7, 5, 5), (37, 7, 3, 3), pads=[1, 1, 1, 1]),
    "matmul of many rows and columns": one("MatMul", normal(2, 8, 12), {"w": normal(12, 75)}),
    "matmul of one row": one("MatMul", normal(1, 40), {"w": normal(40, 150)}),
    "lstm of many units": long_lstm(),
    "lstm in a few steps": recurrent("forward", 3, 1, 1),
}
INT8 = {
    **{n: c for n, c in test_integer_kernels.CASES.items() if n.startswith((*PARTS, "depthwise"))},
    "conv of many outputs": convolution((1, 9, 5, 5), (37, 9, 3, 3), pads=[1, 1, 1, 1]),
    "matmul of many rows and columns": product(8, 70, 75),
    "conv whose sums are beyond what float32 holds": convolution((1, 120, 3, 3), (9, 120, 3, 3)),
}
LANES = (4, 8, 16)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Each of FLOAT, then of INT8, for one lane and for some, in turn as many as a processor may have."""
    models = [m for m, _ in FLOAT.values()] + [m for m, _, _ in INT8.values()]
    each = [(m, lanes) for i, m in enumerate(models) for lanes in (1, LANES[i % 3])]
    made = [source(model, f"m{i}", lanes=lanes) for i, (model, lanes) in enumerate(each)]
    return build(tmp_path_factory.mktemp("lanes"), made, FLAGS)


@pytest.mark.parametrize("name", FLOAT)
def test_floats_are_those_of_the_scalar_kernels_to_the_bit(name: str, program: Program) -> None:
    model, feeds = FLOAT[name]
    index = 2 * list(FLOAT).index(name)
    scalar, several = program.run(index, feeds), program.run(index + 1, feeds)
    for output, wanted in reference(model, feeds).items():
        np.testing.assert_allclose(scalar[output], wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(several[output], scalar[output])


@pytest.mark.parametrize("name", INT8)
def test_int8_equals_onnxruntime_in_every_element(name: str, program: Program) -> None:
    _, theirs, feeds = INT8[name]
    index = 2 * (len(FLOAT) + list(INT8).index(name))
    (wanted,) = reference(theirs, feeds).values()
    np.testing.assert_array_equal(program.run(index, feeds)["y0"], wanted)
    np.testing.assert_array_equal(program.run(index + 1, feeds)["y0"], wanted)
