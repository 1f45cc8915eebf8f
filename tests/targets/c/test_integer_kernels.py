"""The integer kernels against onnxruntime's own integer operators: equal in every element.

Each case is a QDQ graph, as the pass makes it; the reference is the QLinear operator that onnxruntime would
put in its place, so both round an int32 sum times a float32 factor. Sums and averages follow LiteRT instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .host import PLAIN, Program, build
from .models import Array, chain, kernels, reference, shaped, single, source, sources

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers"),
]
RNG = np.random.default_rng(17)
MICROSOFT = "com.microsoft"


def codes(dtype: str, *shape: int) -> Array:
    limits = np.iinfo(dtype)  # from a seed of its own: a new case must not change the others
    return (
        np.random.default_rng([len(dtype), *shape])
        .integers(limits.min, limits.max, shape, endpoint=True)
        .astype(dtype)
    )


def scale(value: float) -> Array:
    return np.float32(value)  # type: ignore[return-value]  # a scalar array


def folded(
    op: str, x: Array, weights: dict[str, Array],
    quants: dict[str, tuple[Array, Array]], axes: dict[str, int],
    result: tuple[float, int], between: list[Any] | None = None, **attributes: Any,
) -> ModelProto:  # fmt: skip
    """x int8 -> DQ -> op(DQ(weights)) -> `between` -> Q -> y int8. `quants`: name -> (scale, zero point)."""
    nodes, constants = [], dict(weights)
    for name, (step, zero) in quants.items():
        constants |= {f"{name}_scale": step, f"{name}_zero": zero}
        axis: dict[str, Any] = {"axis": axes[name]} if name in axes else {}
        nodes.append(
            helper.make_node(
                "DequantizeLinear",
                [name, f"{name}_scale", f"{name}_zero"],
                [f"{name}_real"],
                f"dq_{name}",
                **axis,
            )
        )
    constants |= {"y_scale": scale(result[0]), "y_zero": np.array(result[1], x.dtype)}
    nodes.append(helper.make_node(op, [f"{n}_real" for n in quants], ["real"], "op", **attributes))
    last = "real"
    for number, kind in enumerate(between or []):
        nodes.append(helper.make_node(kind, [last], [f"between{number}"], f"between{number}"))
        last = f"between{number}"
    nodes.append(helper.make_node("QuantizeLinear", [last, "y_scale", "y_zero"], ["y0"], "q"))
    return chain(nodes, {"x": x}, constants, "y0", helper.np_dtype_to_tensor_dtype(x.dtype))


def convolution(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dtype: str = "int8",
    *,
    zero: int = -7,
    least: int = -127,
    **attributes: Any,
) -> tuple[ModelProto, ModelProto, dict[str, Array]]:
    """A folded Conv, per channel, with an int32 bias, and its QLinearConv. `least`: of the weights."""
    x, w = codes(dtype, *x_shape), np.maximum(codes("int8", *w_shape), least).astype(np.int8)
    channels = w_shape[0]
    steps = RNG.uniform(0.002, 0.02, channels).astype(np.float32)
    bias = RNG.integers(-3000, 3000, channels).astype(np.int32)
    x_scale = scale(0.043)
    out = float(0.043 * 0.01 * 40 * np.sqrt(np.prod(w_shape[1:])))
    quants = {
        "x": (x_scale, np.array(zero, dtype)),
        "w": (steps, np.zeros(channels, np.int8)),
        "b": ((x_scale * steps).astype(np.float32), np.zeros(channels, np.int32)),
    }
    ours = folded("Conv", x, {"w": w, "b": bias}, quants, {"w": 0, "b": 0}, (out, 5), **attributes)
    constants = {
        "xs": np.array(x_scale), "xz": np.array(zero, dtype), "w": w, "ws": steps,
        "wz": np.zeros(channels, np.int8), "ys": np.array(scale(out)), "yz": np.array(5, dtype), "b": bias,
    }  # fmt: skip
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    theirs = single("QLinearConv", {"x": x}, constants, dtype=kind, **attributes)
    return ours, theirs, {"x": x}


def product(*sizes: int, step: float = 0.9) -> tuple[ModelProto, ModelProto, dict[str, Array]]:
    """A folded MatMul and its QLinearMatMul. `sizes`: of the rows, one or two; depth; columns. `step`: of the
    result; with 0.9 one code is 3000 products, so that floats round ties as no integer multiplication does.
    """
    *rows, depth, columns = sizes
    x, w = codes("int8", *rows, depth), np.maximum(codes("int8", depth, columns), np.int8(-127))
    quants = {"x": (scale(0.03), np.array(11, np.int8)), "w": (scale(0.01), np.array(0, np.int8))}
    ours = folded("MatMul", x, {"w": w}, quants, {}, (step, -3))
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    constants: dict[str, Array] = {
        "xs": np.array(0.03, np.float32), "xz": np.array(11, np.int8),
        "w": w, "ws": np.array(0.01, np.float32),
        "wz": np.array(0, np.int8), "ys": np.array(step, np.float32), "yz": np.array(-3, np.int8),
    }  # fmt: skip
    theirs = single("QLinearMatMul", {"x": x}, constants, dtype=TensorProto.INT8, order=names)
    return ours, theirs, {"x": x}


def elementwise(op: str, other: str) -> tuple[ModelProto, ModelProto, dict[str, Array]]:
    """A folded operator on two tensors, one of them constant, and the same QDQ graph in onnxruntime."""
    x, w = codes("int8", 2, 3, 50), codes("int8", 50)
    quants = {"x": (scale(0.031), np.array(4, np.int8)), "w": (scale(0.017), np.array(-9, np.int8))}
    ours = folded(op, x, {"w": w}, quants, {}, (float(other), 2))
    return ours, ours, {"x": x}


def unary(op: str, **attributes: Any) -> tuple[ModelProto, ModelProto, dict[str, Array]]:
    x = np.arange(-128, 128).astype(np.int8)
    ours = folded(op, x, {}, {"x": (scale(0.05), np.array(3, np.int8))}, {}, (0.011, -20), **attributes)
    return ours, ours, {"x": x}


def pool(
    op: str, *, result: tuple[float, int], **attributes: Any
) -> tuple[ModelProto, ModelProto, dict[str, Array]]:
    x = codes("int8", 1, 3, 6, 7)
    ours = folded(op, x, {}, {"x": (scale(0.05), np.array(3, np.int8))}, {}, result, **attributes)
    return ours, ours, {"x": x}


CASES = {
    "conv 3x3": convolution((1, 3, 9, 8), (6, 3, 3, 3), pads=[1, 1, 1, 1]),
    "conv 3x3 with weights of -128": convolution((1, 4, 9, 8), (6, 4, 3, 3), least=-128, pads=[1, 1, 1, 1]),
    "conv of uint8": convolution((1, 5, 6, 6), (7, 5, 2, 3), "uint8", zero=131, strides=[2, 1]),
    "conv in groups, odd outputs": convolution((1, 4, 5, 5), (6, 2, 3, 3), group=2, pads=[1, 1, 1, 1]),
    "conv 1x1 of many channels": convolution((1, 64, 3, 4), (3, 64, 1, 1)),
    "conv 1x1 of every second pixel": convolution((1, 4, 7, 11), (3, 4, 1, 1), strides=[2, 2]),
    "conv 1x1 whose last pixel is alone": convolution((1, 8, 20, 20), (9, 8, 1, 1)),
    "conv 1x1 in place": convolution((1, 16, 5, 5), (13, 16, 1, 1)),
    "depthwise conv in place": convolution((1, 6, 9, 7), (6, 1, 3, 3), group=6, pads=[1, 1, 1, 1]),
    "depthwise conv with stride": convolution(
        (1, 4, 9, 10), (8, 1, 5, 3), group=4, pads=[2, 1, 2, 1], strides=[2, 2]
    ),
    "depthwise conv with dilation": convolution((1, 4, 9, 10), (4, 1, 3, 3), group=4, dilations=[1, 2]),
    "depthwise conv of one dimension": convolution((1, 4, 20), (4, 1, 5), group=4, pads=[2, 2]),
    "depthwise conv, two outputs at once": convolution(
        (1, 5, 6, 8), (5, 1, 3, 3), "uint8", zero=77, group=5, pads=[1, 1, 1, 1]
    ),
    "depthwise conv, two outputs at once, with stride": convolution(
        (1, 4, 12, 12), (4, 1, 3, 3), group=4, pads=[0, 0, 1, 1], strides=[2, 2]
    ),
    "depthwise conv without padding": convolution((2, 3, 7, 7), (6, 1, 2, 3), group=3, strides=[1, 2]),
    "matmul": product(5, 19, 7),
    "matmul of one row": product(1, 64, 40),
    "mul": elementwise("Mul", "0.05"),
    "sigmoid": unary("Sigmoid"),
    "tanh": unary("Tanh"),
    "leaky relu": unary("LeakyRelu", alpha=0.1),
    "max pool, same scale": pool("MaxPool", result=(0.05, 3), kernel_shape=[2, 2], strides=[2, 2]),
    "max pool, other scale": pool("MaxPool", result=(0.07, -9), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "transpose, other scale": pool("Transpose", result=(0.02, 0), perm=[0, 2, 3, 1]),
}
EXPECTED_KERNELS = {
    "conv 3x3": "conv_tiled_int8",
    "conv of uint8": "conv_tiled_int8",
    "depthwise conv in place": "conv_depthwise_three_int8",
    "depthwise conv of one dimension": "conv_depthwise_pairs_int8",
    "depthwise conv with dilation": "conv_depthwise_int8",
    "matmul": "linear_int8",
    "sigmoid": "table",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return build(tmp_path_factory.mktemp("integer"), sources(model for model, _, _ in CASES.values()))


@pytest.mark.parametrize("name", CASES)
def test_every_element_equals_onnxruntimes(name: str, program: Program) -> None:
    _, theirs, feeds = CASES[name]
    got = program.run(list(CASES).index(name), feeds)["y0"]
    (wanted,) = reference(theirs, feeds).values()
    assert got.dtype == wanted.dtype
    assert len(np.unique(wanted)) > 8, "the case is too tame to show anything"
    np.testing.assert_array_equal(got, wanted)


def test_an_optimising_compiler_keeps_every_call(tmp_path: Path) -> None:
    """GCC 12 at -O2 dropped a DequantizeLinear whose floats a Softmax in place of them read."""
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["real"], "dequantize"),
        helper.make_node("Softmax", ["real"], ["soft"], "softmax"),
        helper.make_node("QuantizeLinear", ["soft", "ys", "yz"], ["y0"], "quantize"),
    ]
    constants: dict[str, Array] = {
        "xs": np.array(0.05, np.float32), "xz": np.array(3, np.int8),
        "ys": np.array(1 / 256, np.float32), "yz": np.array(-128, np.int8),
    }  # fmt: skip
    feeds = {"x": codes("int8", 1, 12)}
    model = chain(nodes, feeds, constants, "y0", TensorProto.INT8)
    (wanted,) = reference(model, feeds).values()
    for level in ("-O1", "-O2", "-O3", "-Os"):
        (tmp_path / level).mkdir()
        got = build(tmp_path / level, [source(model, "m0")], (*PLAIN, level)).run(0, feeds)["y0"]
        np.testing.assert_array_equal(got, wanted, err_msg=level)


def test_the_integer_operators_of_onnx_run_on_the_same_kernels(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    names = ["conv 3x3", "conv of uint8", "conv in groups, odd outputs", "depthwise conv in place"]
    names += ["matmul of one row"]
    models = [CASES[n][1] for n in names]
    made = sources(map(shaped, models))
    program = build(tmp_path_factory.mktemp("qlinear"), made)
    for index, (name, model) in enumerate(zip(names, models, strict=True)):
        feeds = CASES[name][2]
        (got,), (wanted,) = program.run(index, feeds).values(), reference(model, feeds).values()
        np.testing.assert_array_equal(got, wanted, err_msg=name)
        assert made[index].kernels == source(CASES[name][0], "pairs").kernels == 1


@pytest.mark.parametrize("name", EXPECTED_KERNELS)
def test_a_pair_of_quantization_nodes_becomes_one_integer_kernel(name: str) -> None:
    assert kernels(CASES[name][0]) == [EXPECTED_KERNELS[name]]


def test_a_relu_between_conv_and_quantize_is_part_of_the_integer_kernel(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    x, w = codes("int8", 1, 3, 6, 6), codes("int8", 4, 3, 3, 3)
    quants = {"x": (scale(0.05), np.array(3, np.int8)), "w": (scale(0.01), np.array(0, np.int8))}
    model = folded("Conv", x, {"w": w}, quants, {}, (0.11, -100), between=["Relu"])
    made = source(model, "m0")
    got = build(tmp_path_factory.mktemp("relu"), [made]).run(0, {"x": x})["y0"]
    (wanted,) = reference(model, {"x": x}).values()
    assert made.kernels == 1
    assert (wanted == -100).sum() > 10
    assert (got != wanted).mean() < 0.01  # ties of the float graph
    assert np.abs(got.astype(int) - wanted).max() <= 1


def test_sums_are_rounded_from_the_exact_value(tmp_path: Path) -> None:
    """21 bits of each scale: off by less than a hundredth of a step before rounding. LiteRT's own ADD is held
    against the same kernel, for equality, in test_litert_int8.py."""
    cases = [elementwise(op, other) for op in ("Add", "Sub") for other in ("0.05", "0.0021", "3.5")]
    made = sources(model for model, _, _ in cases)
    assert all("sprue_limited" in s.files[f"m{i}.c"] for i, s in enumerate(made))
    program = build(tmp_path, made)
    for index, (model, _, feeds) in enumerate(cases):
        w = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w").astype(float)
        step = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "y_scale")
        sign = 1 if model.graph.node[2].op_type == "Add" else -1
        a, b = (feeds["x"].astype(float) - 4) * np.float32(0.031), (w + 9) * np.float32(0.017)
        exact = np.clip((a + sign * b) / step + 2, -128, 127)
        got = program.run(index, feeds)["y0"]
        assert np.abs(got - exact).max() < 0.51
        assert np.abs(got - reference(model, feeds)["y0"].astype(int)).max() <= 1, "as onnxruntime's floats"


def test_sums_of_the_farthest_unsigned_codes_stay_within_32_bits(tmp_path: Path) -> None:
    """Every pair of 0, 1, 254 and 255, zero points at either end; the sanitizer watches."""
    x, w = (a.ravel().astype(np.uint8) for a in np.meshgrid([0, 1, 254, 255], [0, 1, 254, 255]))
    models = []
    for op, zero, other in (("Add", 0, 255), ("Sub", 255, 0), ("Add", 255, 255), ("Sub", 0, 0)):
        quants = {
            "x": (scale(0.0499), np.array(zero, np.uint8)),
            "w": (scale(0.05), np.array(other, np.uint8)),
        }
        models.append(folded(op, x, {"w": w}, quants, {}, (0.0251, 128)))
    made = sources(models)
    made += [source(m, f"m{i + 4}", fixed_point=True) for i, m in enumerate(models)]
    program = build(tmp_path, made)
    for index, model in enumerate([*models, *models]):
        got, wanted = program.run(index, {"x": x})["y0"].astype(int), reference(model, {"x": x})["y0"]
        assert np.abs(got - wanted).max() <= 1


def test_a_sum_of_scales_too_far_apart_for_integers_is_computed_in_float(tmp_path: Path) -> None:
    model, _, feeds = elementwise("Add", "200.0")
    made = source(model, "m0")
    assert "sprue_limited" not in made.files["m0.c"]
    got = build(tmp_path, [made]).run(0, feeds)["y0"]
    np.testing.assert_array_equal(got, reference(model, feeds)["y0"])


def test_an_average_of_the_same_scale_rounds_halves_away_from_zero(tmp_path: Path) -> None:
    """As TFLite's kernels do."""
    x = np.array([[[[-3, -2, 2, 3], [-3, -2, 2, 3]]]], np.int8)  # windows with the means -2.5 and 2.5
    model = folded(
        "AveragePool", x, {}, {"x": (scale(0.05), np.array(7, np.int8))}, {}, (0.05, 7),
        kernel_shape=[2, 2], strides=[2, 2],
    )  # fmt: skip
    np.testing.assert_array_equal(
        build(tmp_path, [source(model, "m0")]).run(0, {"x": x})["y0"].ravel(), [-3, 3]
    )


def test_average_pools_differ_by_one_step_at_most(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The mean is rounded once, from the int32 sum; onnxruntime's float graph rounds each product first."""
    cases = [
        pool("AveragePool", result=(0.04, 1), kernel_shape=[2, 3], pads=[1, 1, 0, 1]),
        pool("GlobalAveragePool", result=(0.004, 1)),
    ]
    program = build(tmp_path_factory.mktemp("average"), sources(model for model, _, _ in cases))
    for index, (model, _, feeds) in enumerate(cases):
        got = program.run(index, feeds)["y0"].astype(int)
        (wanted,) = reference(model, feeds).values()
        assert np.abs(got - wanted).max() <= 1
        assert (got != wanted).sum() <= max(1, 0.02 * got.size)


def test_a_global_average_equals_the_integer_operator_of_onnxruntime(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ours, _, feeds = pool("GlobalAveragePool", result=(0.004, 1))
    constants: dict[str, Array] = {
        "xs": np.array(0.05, np.float32), "xz": np.array(3, np.int8),
        "ys": np.array(0.004, np.float32), "yz": np.array(1, np.int8),
    }  # fmt: skip
    theirs = single(
        "QLinearGlobalAveragePool",
        feeds,
        constants,
        domain=MICROSOFT,
        dtype=TensorProto.INT8,
        channels_last=0,
    )
    got = build(tmp_path_factory.mktemp("global"), [source(ours, "m0")]).run(0, feeds)["y0"]
    (wanted,) = reference(theirs, feeds).values()
    np.testing.assert_array_equal(got, wanted)


def test_int8_embeddings_and_lstm_weights_stay_int8_in_flash() -> None:
    table, tokens = codes("int8", 50, 16), np.zeros((1, 4), np.int64)
    nodes = [
        helper.make_node("DequantizeLinear", ["t", "s", "z"], ["real"], "dq"),
        helper.make_node("Gather", ["real", "i"], ["y0"], "gather"),
    ]
    constants = {"t": table, "s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    gather = source(chain(nodes, {"i": tokens}, constants, "y0", TensorProto.FLOAT), "m0")
    assert gather.constants_bytes == table.nbytes

    w, r = codes("int8", 1, 32, 6), codes("int8", 1, 32, 8)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["w_real"], "dq_w"),
        helper.make_node("DequantizeLinear", ["r", "s", "z"], ["r_real"], "dq_r"),
        helper.make_node("LSTM", ["x", "w_real", "r_real"], ["y0"], "lstm", hidden_size=8),
    ]
    x = np.zeros((3, 1, 6), np.float32)
    constants = {"w": w, "r": r, "s": np.array(0.01, np.float32), "z": np.array(0, np.int8)}
    lstm = source(chain(nodes, {"x": x}, constants, "y0", TensorProto.FLOAT), "m1")
    scales = 4 * 32  # one float32 per gate and unit, shared by both matrices
    assert lstm.constants_bytes == 32 * 6 + 32 * 8 + scales
