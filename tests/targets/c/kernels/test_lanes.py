"""The kernels for hosts, at -O3 and vectorised, under UBSan: the same bits as those for scalar registers."""

from __future__ import annotations

import platform
import shutil

import numpy as np
import pytest

from .. import test_integer_kernels, test_kernels
from ..host import Program, build, fused
from ..models import reference, source
from ..test_integer_kernels import convolution, product
from ..test_kernels import conv, normal, one, recurrent
from . import test_recurrent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers"),
    pytest.mark.skipif(platform.machine() != "x86_64" or not fused(), reason="needs x86-64 with FMA"),
]
FLAGS = (
    "-O3", "-mavx2", "-mfma", "--param=max-completely-peel-times=8", "-g0", "-fno-strict-aliasing",
    "-ffp-contract=off", "-fno-math-errno", "-fsanitize=undefined", "-fno-sanitize-recover=all",
)  # fmt: skip
PARTS = ("conv", "gemm", "matmul", "lstm", "gru", "softmax", "layer")

FLOAT = {
    **{name: case for name, case in test_kernels.CASES.items() if name.startswith((*PARTS, "depthwise"))},
    "conv of many outputs": conv((1, 7, 5, 5), (37, 7, 3, 3), pads=[1, 1, 1, 1]),
    "matmul of many rows and columns": one("MatMul", normal(2, 8, 12), {"w": normal(12, 75)}),
    "matmul of one row": one("MatMul", normal(1, 40), {"w": normal(40, 150)}),
    "lstm of many units": recurrent("forward", 5, 1, 3, hidden=19),
    "gru of many units": recurrent("forward", 5, 1, 2, "GRU", hidden=19),
    "gru of many units, its reset after": recurrent(
        "bidirectional", 5, 2, 2, "GRU", hidden=19, linear_before_reset=1
    ),
    "lstm in a few steps": recurrent("forward", 3, 1, 1),
}
INT8 = {
    **{n: c for n, c in test_integer_kernels.CASES.items() if n.startswith((*PARTS, "depthwise"))},
    "conv of many outputs": convolution((1, 9, 5, 5), (37, 9, 3, 3), pads=[1, 1, 1, 1]),
    "matmul of many rows and columns": product(8, 70, 75),
    "conv whose sums are beyond what float32 holds": convolution((1, 120, 3, 3), (9, 120, 3, 3)),
}
WEIGHTS = {
    "lstm with int8 weights": test_recurrent.recurrent("LSTM", "bidirectional", 3, hidden=19),
    "lstm with int8 weights of hidden states": test_recurrent.recurrent("LSTM", "reverse", 1, scaled="r"),
    "lstm with int8 weights, deep": test_recurrent.recurrent("LSTM", "forward", 1, width=501),
    "gru with int8 weights": test_recurrent.recurrent("GRU", "bidirectional", 2, hidden=19),
    "gru with int8 weights, its reset after": test_recurrent.recurrent(
        "GRU", "reverse", 1, linear_before_reset=1
    ),
}
LANES = (4, 8, 16)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """FLOAT, WEIGHTS and INT8: each for one lane and for some, in turn as many as a processor may have."""
    models = [m for m, _ in (*FLOAT.values(), *WEIGHTS.values())] + [m for m, _, _ in INT8.values()]
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


@pytest.mark.parametrize("name", WEIGHTS)
def test_networks_with_int8_weights_are_those_of_the_scalar_kernels_to_the_bit(
    name: str, program: Program
) -> None:
    """What those are held against: `test_recurrent.py`."""
    _, feeds = WEIGHTS[name]
    index = 2 * (len(FLOAT) + list(WEIGHTS).index(name))
    scalar, several = program.run(index, feeds), program.run(index + 1, feeds)
    for output, made in scalar.items():
        np.testing.assert_array_equal(several[output], made)


@pytest.mark.parametrize("name", INT8)
def test_int8_equals_onnxruntime_in_every_element(name: str, program: Program) -> None:
    _, theirs, feeds = INT8[name]
    index = 2 * (len(FLOAT) + len(WEIGHTS) + list(INT8).index(name))
    (wanted,) = reference(theirs, feeds).values()
    np.testing.assert_array_equal(program.run(index, feeds)["y0"], wanted)
    np.testing.assert_array_equal(program.run(index + 1, feeds)["y0"], wanted)
