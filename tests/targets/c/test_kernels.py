"""Each kernel form against onnxruntime, generated, compiled under the sanitizers and run on this machine."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from .host import Program, build
from .models import Array, reference, single, source, sources

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
Case = tuple[ModelProto, dict[str, Array]]
RNG = np.random.default_rng(5)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def conv(x: tuple[int, ...], w: tuple[int, ...], **attributes: Any) -> Case:
    feeds = {"x": normal(*x)}
    return single("Conv", feeds, {"w": normal(*w), "b": normal(w[0])}, **attributes), feeds


def one(op: str, x: Array, constants: dict[str, Array] | None = None, **attributes: Any) -> Case:
    return single(op, {"x": x}, constants, **attributes), {"x": x}


def run_time_weights() -> Case:
    feeds = {"x": normal(1, 4, 5, 5), "w": normal(6, 2, 3, 3), "b": normal(6)}
    return single("Conv", feeds, group=2, pads=[1, 1, 0, 1], strides=[2, 1]), feeds


def recurrent(
    direction: str,
    sequence: int,
    batch: int,
    outputs: int,
    op: str = "LSTM",
    hidden: int = 5,
    **attributes: Any,
) -> Case:
    directions = 2 if direction == "bidirectional" else 1
    rows = (4 if op == "LSTM" else 3) * hidden
    weights = {
        "w": normal(directions, rows, 3), "r": normal(directions, rows, hidden),
        "b": normal(directions, 2 * rows),
    }  # fmt: skip
    feeds = {"x": normal(sequence, batch, 3)}
    given = {"hidden_size": hidden, "direction": direction, **attributes}
    return single(op, feeds, weights, outputs=outputs, **given), feeds


CASES: dict[str, Case] = {
    "conv of 3x3 with padding": conv((1, 3, 7, 6), (10, 3, 3, 3), pads=[1, 1, 1, 1]),
    "conv with stride, dilation and uneven padding": conv(
        (1, 2, 9, 11), (5, 2, 3, 2), pads=[2, 0, 1, 1], strides=[2, 3], dilations=[2, 1]
    ),
    "conv in groups": conv((2, 6, 5, 5), (9, 2, 3, 3), group=3, pads=[1, 1, 1, 1]),
    "conv of 1x1 in place": conv((1, 8, 5, 3), (6, 8, 1, 1)),
    "conv of one dimension": conv((1, 4, 17), (7, 4, 5), pads=[2, 2], strides=[2]),
    "depthwise conv in place": conv((1, 5, 8, 9), (5, 1, 3, 3), group=5, pads=[1, 1, 1, 1]),
    "depthwise conv with multiplier": conv(
        (1, 3, 8, 9), (6, 1, 3, 5), group=3, pads=[0, 2, 1, 2], strides=[2, 2]
    ),
    "conv with weights computed at run time": run_time_weights(),
    "max pool in place": one("MaxPool", normal(1, 3, 8, 8), kernel_shape=[3, 3], strides=[1, 2]),
    "max pool with padding": one(
        "MaxPool", normal(1, 2, 5, 5), kernel_shape=[2, 2], pads=[1, 0, 1, 1], strides=[2, 2]
    ),
    "average pool counting its padding": one(
        "AveragePool", normal(2, 2, 5, 6), kernel_shape=[3, 2], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "average pool with ceil mode": one(
        "AveragePool", normal(1, 2, 6, 6), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1
    ),
    "gemm": one("Gemm", normal(3, 7), {"w": normal(5, 7), "c": normal(5)}, transB=1, alpha=0.5, beta=2.0),
    "gemm transposed": one("Gemm", normal(7, 3), {"w": normal(7, 5), "c": normal(3, 1)}, transA=1),
    "matmul by a constant": one("MatMul", normal(2, 6, 4), {"w": normal(4, 9)}),
    "lstm forward": recurrent("forward", 4, 2, 3),
    "lstm reverse, last state only": recurrent("reverse", 4, 1, 1),
    "lstm in both directions": recurrent("bidirectional", 3, 2, 3),
    "gru in both directions": recurrent("bidirectional", 3, 2, 2, "GRU"),
    "gru reverse, its reset after": recurrent("reverse", 4, 2, 1, "GRU", linear_before_reset=1),
    "softmax over an inner axis": one("Softmax", normal(2, 5, 3) * 10, axis=1),
    "transpose": one("Transpose", normal(2, 3, 4, 5), perm=[2, 0, 3, 1]),
    "layer normalization": one("LayerNormalization", normal(2, 3, 8), {"s": normal(8), "b": normal(8)}),
    "mean over two axes": one("ReduceMean", normal(2, 3, 4, 5), axes=[0, 2], keepdims=0),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return build(tmp_path_factory.mktemp("kernels"), sources(model for model, _ in CASES.values()))


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_agrees_with_onnxruntime(name: str, program: Program) -> None:
    model, feeds = CASES[name]
    got = program.run(list(CASES).index(name), feeds)
    for output, wanted in reference(model, feeds).items():
        assert got[output].dtype == wanted.dtype
        np.testing.assert_allclose(
            got[output], wanted, rtol=2e-5, atol=2e-6 * max(1.0, float(np.abs(wanted).max()))
        )


UNARY = {
    "Exp": np.linspace(-110, 95, 4001),
    "Log": np.geomspace(1e-44, 3e38, 4001),
    "Sigmoid": np.linspace(-90, 90, 4001),
    "Tanh": np.linspace(-12, 12, 4001),
    "Erf": np.linspace(-5, 5, 4001),
    "Sqrt": np.geomspace(1e-44, 3e38, 4001),
    "Softplus": np.linspace(-100, 100, 4001),
    "Round": np.linspace(-9.5, 9.5, 77),
    "Floor": np.linspace(-9.5, 9.5, 77),
    "Ceil": np.linspace(-9.5, 9.5, 77),
    "Sin": np.linspace(-300, 300, 4001),
    "Cos": np.linspace(-300, 300, 4001),
    "Tan": np.linspace(-1.5, 1.5, 4001),
    "Asin": np.linspace(-1, 1, 4001),
    "Acos": np.linspace(-1, 1, 4001),
    "Atan": np.concatenate([np.linspace(-6, 6, 4001), [1e6, -1e30]]),
    "Sinh": np.concatenate([np.linspace(-12, 12, 4001), [1e-6, -88.9]]),
    "Cosh": np.linspace(-88.9, 88.9, 4001),
    "Asinh": np.concatenate([np.linspace(-6, 6, 4001), [1e-6, -1e30]]),
    "Acosh": np.concatenate([np.linspace(1, 9, 4001), [1 + 2**-20, 1e30]]),
    "Atanh": np.linspace(-0.999, 0.999, 4001),
}


def in_double(op: str, x: Array) -> Array:
    """The function in float64, by numpy alone."""
    from math import erf

    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        made: dict[str, Array] = {
            "Exp": np.exp(wide),
            "Log": np.log(wide),
            "Sigmoid": 1 / (1 + np.exp(-wide)),
            "Tanh": np.tanh(wide),
            "Erf": np.array([erf(v) for v in wide.tolist()]),
            "Sqrt": np.sqrt(wide),
            "Softplus": np.logaddexp(0, wide),
            "Round": np.rint(wide),
            "Floor": np.floor(wide),
            "Ceil": np.ceil(wide),
            "Sin": np.sin(wide),
            "Cos": np.cos(wide),
            "Tan": np.tan(wide),
            "Asin": np.arcsin(wide),
            "Acos": np.arccos(wide),
            "Atan": np.arctan(wide),
            "Sinh": np.sinh(wide),
            "Cosh": np.cosh(wide),
            "Asinh": np.arcsinh(wide),
            "Acosh": np.arccosh(wide),
            "Atanh": np.arctanh(wide),
        }
    return made[op]


@pytest.mark.slow
def test_the_freestanding_functions_are_right_to_a_few_units_in_the_last_place(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    inputs = {op: x.astype(np.float32) for op, x in UNARY.items()}
    models = [single(op, {"x": x}) for op, x in inputs.items()]
    program = build(tmp_path_factory.mktemp("functions"), sources(models))
    for index, (op, x) in enumerate(inputs.items()):
        got = program.run(index, {"x": x})["y0"].astype(np.float64)
        wanted = in_double(op, x)
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = wanted.astype(np.float32)
            unit = np.spacing(np.abs(rounded)).astype(np.float64)
        beyond = ~np.isfinite(rounded)
        assert (got[beyond] == rounded[beyond]).all(), op
        error = np.abs(got - wanted)[~beyond] / np.maximum(unit[~beyond], 1.4e-45)
        assert float(error.max()) <= 4.0, f"{op}: {error.max():.2f} ulp at {x[~beyond][error.argmax()]}"


def test_a_gather_index_outside_the_table_reads_the_nearest_row(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    feeds = {"i": np.array([-7, -1, 0, 2, 9_000_000_000], np.int64)}
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    model = single("Gather", feeds, {"t": table}, order=["t", "i"])
    got = build(tmp_path_factory.mktemp("gather"), [source(model, "m0")]).run(0, feeds)["y0"]
    assert got[:, 0].tolist() == [0, 4, 0, 4, 4]


def test_integers_divide_towards_zero_and_never_trap(tmp_path_factory: pytest.TempPathFactory) -> None:
    feeds = {
        "a": np.array([7, -7, 5, -(2**31)], np.int32),
        "b": np.array([2, 2, 0, -1], np.int32),
    }
    model = single("Div", feeds, dtype=TensorProto.INT32)
    got = build(tmp_path_factory.mktemp("division"), [source(model, "m0")]).run(0, feeds)["y0"]
    assert got.tolist() == [3, -3, 0, -(2**31)]
