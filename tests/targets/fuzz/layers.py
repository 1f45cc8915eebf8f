"""Steps by which a random graph grows: layers of networks, reductions, recurrent cells, quantization."""

from __future__ import annotations

from typing import Any

import numpy as np

from .growing import FLOATS, INTEGERS, LARGEST_INTEGER, NUMBERS, Growing, Skip
from .steps import Step


def _window(g: Growing, sizes: tuple[int, ...], *, pool: bool) -> dict[str, Any]:
    kernel = [g.choose(1, min(3, s)) for s in sizes]
    given: dict[str, Any] = {"kernel_shape": kernel, "strides": [g.choose(1, 2 + pool) for _ in sizes]}
    if g.maybe(3) and (not pool or g.opset >= 19):
        given["dilations"] = [g.choose(1, 2) for _ in sizes]
    kind = g.choose(0, 4)
    if kind == 0:
        given["auto_pad"] = g.one_of(("SAME_UPPER", "SAME_LOWER", "VALID"))
        given.pop("dilations", None)
    elif kind > 1:
        most = [k - 1 if pool else 2 for k in kernel]
        given["pads"] = [g.choose(0, most[i % len(sizes)]) for i in range(2 * len(sizes))]
    return given


def conv(g: Growing) -> None:
    x = g.pick(rank=(3, 4, 4, 4))
    _, c, *sizes = g.values[x].shape
    group = g.one_of([d for d in (1, 1, 2, 3, c) if c % d == 0])
    out = group * g.choose(1, 3)
    given = _window(g, tuple(sizes), pool=False)
    inputs = [x, g.weight(out, c // group, *given["kernel_shape"])]
    if g.maybe():
        inputs.append(g.weight(out))
    (made,) = g.add("Conv", inputs, group=group, **given)
    _follow(g, made, out)


def _follow(g: Growing, made: str, channels: int) -> None:
    """What stands behind a convolution: nothing, a normalization, an activation, a sum."""
    kind = g.choose(0, 5)
    if kind == 0:
        norm = [g.weight(channels) for _ in range(3)]
        variance = g.constant(np.abs(g.random("float32", (channels,))) + np.float32(0.5))
        (made,) = g.add("BatchNormalization", [made, *norm, variance], epsilon=g.one_of((None, 1e-3)))
    if kind in (0, 1, 2):
        g.add(g.one_of(("Relu", "HardSwish", "LeakyRelu", "Sigmoid")), [made])
    elif kind == 3:
        g.add("Clip", [made, g.constant(0.0, "float32"), g.constant(6.0, "float32")])


def conv_transpose(g: Growing) -> None:
    x = g.pick(rank=(3, 4))
    _, c, *sizes = g.values[x].shape
    group = g.one_of([d for d in (1, 1, 2, c) if c % d == 0])
    out = g.choose(1, 3)
    kernel = [g.choose(1, 3) for _ in sizes]
    strides = [g.choose(1, 3) for _ in sizes]
    pads = [g.choose(0, (k - 1) // 2) for k in kernel] * 2
    extra = [g.choose(0, s - 1) for s in strides] if g.maybe(3) else None
    inputs = [x, g.weight(c, out, *kernel)] + ([g.weight(out * group)] if g.maybe() else [])
    g.add(
        "ConvTranspose", inputs, group=group, strides=strides, pads=pads, output_padding=extra,
        dilations=[g.choose(1, 2) for _ in sizes] if g.maybe(4) else None,
    )  # fmt: skip


def pool(g: Growing) -> None:
    x = g.pick(rank=(3, 4, 4))
    op = g.one_of(("MaxPool", "AveragePool"))
    given = _window(g, g.values[x].shape[2:], pool=True)
    if op == "AveragePool":
        given["count_include_pad"] = g.choose(0, 1)
    if "auto_pad" not in given and g.maybe(3):
        given["ceil_mode"] = 1
    if op == "MaxPool":
        g.moved(op, [x], **given)
    else:
        g.add(op, [x], **given)


def pool_all(g: Growing) -> None:
    g.add(g.one_of(("GlobalAveragePool", "GlobalMaxPool")), [g.pick(rank=(3, 4))])


def normalize(g: Growing) -> None:
    """Where the values spread: to divide by a spread of nearly 0 makes much of rounding errors."""
    x = g.pick(rank=(2, 3, 4))
    value = g.values[x]
    op = g.one_of(("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"))
    c = value.shape[1]
    if op == "LayerNormalization":
        axis = g.choose(-value.ndim, -1)
        shape = value.shape[axis:]
        _spread(value.reshape(-1, int(np.prod(shape))))
        inputs = [x, g.weight(*shape)] + ([g.weight(*shape)] if g.maybe() else [])
        g.add(op, inputs, axis=axis)
    elif op == "RMSNormalization":
        g.add(op, [x, g.weight(value.shape[-1])], axis=-1)
    elif op == "InstanceNormalization" and value.ndim > 2:
        _spread(value.reshape(-1, int(np.prod(value.shape[2:]))))
        g.add(op, [x, g.weight(c), g.weight(c)])
    elif value.ndim > 2 and g.opset >= 21:
        groups = g.one_of([d for d in (1, 2, c) if c % d == 0])
        _spread(value.reshape(value.shape[0] * groups, -1))
        g.add("GroupNormalization", [x, g.weight(c), g.weight(c)], num_groups=groups)
    else:
        raise Skip


def _spread(rows: Any) -> None:
    if rows.std(axis=1).min() < 0.1:
        raise Skip


def matmul(g: Growing) -> None:
    x = g.pick(rank=(1, 2, 3, 4))
    shape = g.values[x].shape
    n = g.choose(1, 5)
    kind = g.choose(0, 4)
    if kind == 0 and len(shape) >= 2:  # two computed tensors, as in attention
        perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        (turned,) = g.moved("Transpose", [x], perm=perm)
        g.add("MatMul", either_turn(g, x, turned))
    elif kind == 1 and len(shape) >= 3:  # a weight for each
        g.add("MatMul", [x, g.weight(*shape[:-2], shape[-1], n)])
    elif kind == 2:
        g.add("MatMul", [x, g.weight(shape[-1])])
    elif kind == 3 and len(shape) >= 2:
        g.add("MatMul", [g.weight(n, shape[-2]), x])
    else:
        g.add("MatMul", [x, g.weight(shape[-1], n)])


def either_turn(g: Growing, a: str, b: str) -> list[str]:
    return [a, b] if g.maybe() else [b, a]


def gemm(g: Growing) -> None:
    x = g.pick(rank=(2,))
    turned_a, turned_b = g.choose(0, 1), g.choose(0, 1)
    rows, k = g.values[x].shape if not turned_a else g.values[x].shape[::-1]
    n = g.choose(1, 5)
    inputs = [x, g.weight(n, k) if turned_b else g.weight(k, n)]
    if g.maybe() or g.maybe():
        inputs.append(g.weight(*g.one_of([(n,), (1, n), (), (rows, 1), (rows, n)])))
    scales = {"alpha": g.one_of((None, 0.5, 2.0)), "beta": g.one_of((None, 0.5))}
    g.add("Gemm", inputs, transA=turned_a or None, transB=turned_b or None, **scales)


def reduce(g: Growing) -> None:
    x = g.pick(FLOATS if g.maybe() or g.maybe() else INTEGERS)
    value = g.values[x]
    if not value.ndim:
        raise Skip
    op = g.one_of(("Mean", "Max", "Min", "Sum", "Prod", "L1", "L2", "SumSquare", "LogSumExp", "LogSum"))
    if op == "LogSum":
        (x,) = g.add("Abs", [x])
        (x,) = g.add("Add", [x, g.constant(1, value.dtype.name)])
    whole = np.abs(value.astype(np.float64))
    if value.dtype.kind == "i" and (whole.prod() if op == "Prod" else (whole**2).sum()) > LARGEST_INTEGER:
        raise Skip
    axes = [i if g.maybe() else i - value.ndim for i in range(value.ndim) if g.maybe()]
    keep = g.one_of((None, 0, 1))
    as_input = g.opset >= (13 if op == "Sum" else 18)
    if not axes:
        g.add(f"Reduce{op}", [x], keepdims=keep, noop_with_empty_axes=1 if as_input and g.maybe(4) else None)
    elif as_input:
        g.add(f"Reduce{op}", [x, g.integers(axes)], keepdims=keep)
    else:
        g.add(f"Reduce{op}", [x], axes=axes, keepdims=keep)


def arg(g: Growing) -> None:
    x = g.pick(NUMBERS)
    axis = g.axis(x)
    g.distinct(x, [axis])
    g.add(
        g.one_of(("ArgMax", "ArgMin")), [x], axis=axis, keepdims=g.one_of((None, 0)),
        select_last_index=g.one_of((None, 1)),
    )  # fmt: skip


def top(g: Growing) -> None:
    x = g.pick(NUMBERS, rank=(1, 2, 3, 4))
    axis = g.axis(x) if g.maybe() else -1
    g.distinct(x, [axis])
    k = g.choose(1, g.values[x].shape[axis])
    g.moved("TopK", [x, g.integers([k])], 2, axis=axis, largest=g.one_of((None, 0)))


def softmax(g: Growing) -> None:
    x = g.pick()
    op = g.one_of(("Softmax", "LogSoftmax", "Softmax", "LpNormalization"))
    if op == "LpNormalization" and np.abs(g.values[x]).min() < 0.1:
        raise Skip
    g.add(op, [x], axis=g.axis(x))


def cumulative(g: Growing) -> None:
    x = g.pick(NUMBERS)
    axis = g.axis(x)
    g.add("CumSum", [x, g.integers(axis)], exclusive=g.choose(0, 1), reverse=g.choose(0, 1))


def local_response(g: Growing) -> None:
    g.add("LRN", [g.pick(rank=(4,))], size=g.one_of((1, 3, 5)), alpha=g.one_of((None, 0.1)))


def one_hot(g: Growing) -> None:
    indices = g.pick(INTEGERS, rank=(0, 1, 2))
    depth = g.choose(2, 5)
    (inside,) = g.add("Mod", [indices, g.constant(depth, g.values[indices].dtype.name)])
    values = g.constant([0.0, 1.0] if g.maybe() else [-1.0, 3.0], "float32")
    g.moved("OneHot", [inside, g.integers(depth), values], axis=g.one_of((None, 0)))


def resize(g: Growing) -> None:
    x = g.pick(rank=(4,))
    n, c, h, w = g.values[x].shape
    mode = g.one_of(("nearest", "nearest", "linear"))
    given: dict[str, Any] = {"mode": mode}
    places = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    given["coordinate_transformation_mode"] = g.one_of(places)
    factors = (2, 3) if mode == "nearest" else (1, 2, 3)
    if mode == "nearest":
        given["nearest_mode"] = g.one_of(("floor", "round_prefer_floor", "round_prefer_ceil", "ceil"))
    if g.maybe():
        sizes = [n, c, h * g.one_of(factors), w * g.one_of(factors)]
        g.add("Resize", [x, "", "", g.integers(sizes)], **given)
    else:
        scales = [1.0, 1.0, float(g.one_of(factors)), float(g.one_of(factors))]
        g.add("Resize", [x, "", g.constant(scales, "float32")], **given)


def recurrent(g: Growing) -> None:
    """LSTM or GRU over [time, batch, features], as exporters write it: transposed before and behind."""
    x = g.pick(rank=(3,))
    steps, batch, size = g.values[x].shape
    if steps > 6 or size > 16:
        raise Skip
    op = g.one_of(("LSTM", "GRU"))
    gates, hidden = (4, g.choose(1, 4)) if op == "LSTM" else (3, g.choose(1, 4))
    direction = g.one_of(("forward", "reverse", "bidirectional"))
    two = 2 if direction == "bidirectional" else 1
    inputs = [x, g.weight(two, gates * hidden, size), g.weight(two, gates * hidden, hidden)]
    if g.maybe():
        inputs.append(g.weight(two, 2 * gates * hidden))
    if g.maybe(3):
        inputs += [""] * (4 - len(inputs)) + ["", g.weight(two, batch, hidden)]
        if op == "LSTM":
            inputs.append(g.weight(two, batch, hidden))
    given: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if op == "GRU":
        given["linear_before_reset"] = g.choose(0, 1)
    names = g.add(op, inputs, g.choose(1, 3 if op == "LSTM" else 2), **given)
    if direction != "bidirectional" and g.maybe():
        g.moved("Squeeze", [names[0], g.integers([1])])


def recurrent_over_features(g: Growing) -> None:
    (turned,) = g.moved("Transpose", [g.pick(rank=(3,))], perm=[1, 0, 2])
    if turned:
        recurrent(g)


def _scale(value: Any) -> float:
    return max(float(np.abs(value).max()) / 127, 1e-4)


def fake_quantize(g: Growing, x: str) -> str:
    """QuantizeLinear and DequantizeLinear per tensor, where no rounding error moves a value by a step."""
    value = g.values[x]
    scale = np.float32(_scale(value))
    steps = value.astype(np.float64) / scale
    if np.abs(steps - np.floor(steps) - 0.5).min() < MARGIN_OF_STEPS and x not in g.sure:
        raise Skip
    zero = (
        g.constant(g.one_of((0, 0, -3, 11)), "int8") if g.maybe(4) or g.maybe() else g.constant(128, "uint8")
    )
    given = [g.constant(scale), zero]
    (stored,) = g.add("QuantizeLinear", [x, *given])
    (made,) = g.add("DequantizeLinear", [stored, *given])
    return made


MARGIN_OF_STEPS = 5e-4


def quantized_weight(g: Growing, *shape: int, axis: int = 0) -> str:
    """int8 weights with one scale, or one for each channel."""
    data = g.random("float32", shape, 0.5)
    if g.maybe():
        others = tuple(i for i in range(len(shape)) if i != axis)
        scale = np.maximum(np.abs(data).max(axis=others), 0.01).astype(np.float32) / np.float32(127)
        wide = scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    else:
        scale = wide = np.float32(_scale(data))
    stored = g.constant(np.clip(np.round(data / wide), -127, 127), "int8")
    given = [g.constant(scale, "float32"), g.constant(np.zeros(np.shape(scale)), "int8")]
    (made,) = g.add("DequantizeLinear", [stored, *given], axis=axis if np.ndim(scale) else None)
    return made


def quantized_bias(g: Growing, count: int, x: str, weight: str) -> list[str]:
    """int32 in steps of the input's scale times the weights': what integer kernels add as it is."""
    if g.maybe():
        return []
    makers = {o: n for n in g.nodes for o in n.output}
    scales = [g.constants[makers[name].input[1]] for name in (x, weight)]
    scale = np.broadcast_to(scales[0] * scales[1], (count,)).astype(np.float32)
    stored = g.constant(np.round(g.random("float32", (count,), 0.5) / scale), "int32")
    return g.add("DequantizeLinear", [stored, g.constant(scale)], axis=0)


def quantized_layer(g: Growing) -> None:
    """A layer between QDQ pairs, as a quantized export has it."""
    x = fake_quantize(g, g.pick(rank=(2, 3, 4)))
    shape = g.values[x].shape
    kind = g.choose(0, 4)
    if len(shape) == 4 and kind < 2:
        group = shape[1] if g.maybe(3) else 1
        out = group * g.choose(1, 2) if group > 1 else g.choose(1, 4)
        given = _window(g, shape[2:], pool=False)
        weight = quantized_weight(g, out, shape[1] // group, *given["kernel_shape"])
        bias = quantized_bias(g, out, x, weight)
        (y,) = g.add("Conv", [x, weight, *bias], group=group, **given)
    elif len(shape) == 4 and kind == 2:
        y = g.add(*g.one_of([("GlobalAveragePool", [x]), ("MaxPool", [x])]), kernel_shape=None)[0]
    elif len(shape) == 2 and kind < 3:
        out = g.choose(1, 5)
        weight = quantized_weight(g, out, shape[1])
        (y,) = g.add("Gemm", [x, weight, *quantized_bias(g, out, x, weight)], transB=1)
    elif kind == 3:
        (y,) = g.add(g.one_of(("Add", "Mul")), [x, x])
    else:
        y = g.add("MatMul", [x, quantized_weight(g, shape[-1], g.choose(1, 4), axis=1)])[0]
    if g.maybe(3):
        (y,) = g.add(g.one_of(("Relu", "Sigmoid", "Clip")), [y])
    if g.maybe() or g.maybe():
        fake_quantize(g, y)


def integer_operator(g: Growing) -> None:
    """A layer that takes and gives integers itself, as quantizers write it in their other format."""
    x = fake_quantize(g, g.pick(rank=(2, 3, 4)))
    stored, scale, zero = next(n for n in g.nodes if x in n.output).input
    shape, out = g.values[x].shape, g.choose(1, 4)
    each = g.maybe()
    steps = g.constant(np.full(out if each else (), 0.02), "float32")
    zeros = g.constant(np.full(out if each else (), 0 if each else g.one_of((0, 0, -3))), "int8")
    result = [g.constant(g.one_of((0.01, 0.05, 0.3)), "float32"), zero]
    rng = np.random.default_rng(g.choose(0, 9999))
    if len(shape) == 4:
        given = _window(g, shape[2:], pool=False)
        kernel = g.constant(rng.integers(-127, 128, (out, shape[1], *given["kernel_shape"])), "int8")
        bias = [] if g.maybe() else [g.constant(rng.integers(-900, 900, out), "int32")]
        inputs = [stored, scale, zero, kernel, steps, zeros, *result, *bias]
        (y,) = g.add("QLinearConv", inputs, **given)
    else:
        matrix = g.constant(rng.integers(-127, 128, (shape[-1], out)), "int8")
        if g.maybe():
            (sums,) = g.add("MatMulInteger", [stored, matrix, zero, zeros])
            (real,) = g.add("Cast", [sums], to=1)
            g.add("Mul", [real, g.constant(1e-3, "float32")])
            return
        (y,) = g.add("QLinearMatMul", [stored, scale, zero, matrix, steps, zeros, *result])
    g.add("DequantizeLinear", [y, *result])


STEPS: tuple[Step, ...] = (
    conv, conv, conv, conv_transpose, pool, pool, pool_all, normalize, matmul, matmul, gemm, gemm, reduce,
    reduce, arg, top, softmax, cumulative, local_response, one_hot, resize, recurrent,
    recurrent_over_features, quantized_layer, quantized_layer, quantized_layer,
    integer_operator,
)  # fmt: skip
