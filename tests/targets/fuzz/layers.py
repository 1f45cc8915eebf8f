"""Steps by which a random graph grows: layers of networks, reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .growing import FLOATS, INTEGERS, LARGEST_INTEGER, NUMBERS, Growing, Skip
from .steps import Step


def window(g: Growing, sizes: tuple[int, ...], *, pool: bool) -> dict[str, Any]:
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
    x = g.pick(rank=(3, 4, 4, 4, 5))
    _, c, *sizes = g.values[x].shape
    group = g.one_of([d for d in (1, 1, 2, 3, c) if c % d == 0])
    out = group * g.choose(1, 3)
    given = window(g, tuple(sizes), pool=False)
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
    x = g.pick(rank=(3, 4, 4, 5))
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
    x = g.pick(rank=(3, 4, 4, 5))
    op = g.one_of(("MaxPool", "AveragePool"))
    given = window(g, g.values[x].shape[2:], pool=True)
    if op == "AveragePool":
        given["count_include_pad"] = g.choose(0, 1)
    if "auto_pad" not in given and g.maybe(3):
        given["ceil_mode"] = 1
    if op == "MaxPool":
        g.moved(op, [x], **given)
    else:
        g.add(op, [x], **given)


def pool_all(g: Growing) -> None:
    g.add(g.one_of(("GlobalAveragePool", "GlobalMaxPool")), [g.pick(rank=(3, 4, 5))])


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
    op = g.one_of(("Softmax", "LogSoftmax", "Softmax", "LpNormalization", "Hardmax"))
    if op == "LpNormalization" and np.abs(g.values[x]).min() < 0.1:
        raise Skip
    axis = g.axis(x)
    if op == "Hardmax":
        g.distinct(x, range(g.values[x].ndim))
    default = g.maybe(6) and op != "LpNormalization"
    g.add(op, [x], axis=None if default else axis, p=g.one_of((None, 1)) if op == "LpNormalization" else None)


def cumulative(g: Growing) -> None:
    x = g.pick(NUMBERS)
    axis = g.axis(x)
    g.add(
        g.one_of(("CumSum", "CumSum", "CumProd")),
        [x, g.integers(axis)],
        exclusive=g.choose(0, 1),
        reverse=g.choose(0, 1),
    )


def local_response(g: Growing) -> None:
    g.add("LRN", [g.pick(rank=(4,))], size=g.one_of((1, 3, 5)), alpha=g.one_of((None, 0.1)))


def one_hot(g: Growing) -> None:
    indices = g.pick(INTEGERS, rank=(0, 1, 2))
    depth = g.choose(2, 5)
    (inside,) = g.add("Mod", [indices, g.constant(depth, g.values[indices].dtype.name)])
    values = g.constant([0.0, 1.0] if g.maybe() else [-1.0, 3.0], "float32")
    g.moved("OneHot", [inside, g.integers(depth), values], axis=g.one_of((None, 0)))


def pool_and_back(g: Growing) -> None:
    """The largest of each window and where it was; now and then put back there."""
    x = g.pick(rank=(3, 4, 4))
    g.distinct(x, range(g.values[x].ndim))
    sizes = g.values[x].shape[2:]
    given: dict[str, Any] = {
        "kernel_shape": [min(2, s) for s in sizes],
        "strides": [min(2, s) for s in sizes],
    }
    values, places = g.moved("MaxPool", [x], 2, storage_order=g.one_of((None, None, 1)), **given)
    if g.maybe():
        g.moved("MaxUnpool", [values, places], **given)


def loss(g: Growing) -> None:
    x = g.pick(rank=(2, 3, 4))
    shape = g.values[x].shape
    labels = np.random.default_rng(g.choose(0, 999)).integers(0, shape[1], (shape[0], *shape[2:]))
    inputs = [x, g.constant(labels, g.one_of(INTEGERS))]
    if g.maybe(3):
        inputs.append(g.constant(np.abs(g.random("float32", shape[1:2])) + np.float32(0.1)))
    given = {"reduction": g.one_of((None, "mean", "sum", "none")), "ignore_index": g.one_of((None, None, 0))}
    if g.maybe():
        g.add("SoftmaxCrossEntropyLoss", inputs, g.choose(1, 2), **given)
    else:
        g.add("NegativeLogLikelihoodLoss", inputs, **given)


def einsum(g: Growing) -> None:
    x = g.pick(rank=(2, 3))
    shape = g.values[x].shape
    n = g.choose(1, 3)
    if len(shape) == 2:
        equation, y = g.one_of(
            [
                ("ij,jk->ik", (shape[1], n)),
                ("ij->ji", None),
                ("ij,ij->i", shape),
                ("ij,kj->ki", (n, shape[1])),
                ("ij->", None),
            ]
        )
    else:
        equation, y = g.one_of(
            [
                ("bij,bjk->bik", (shape[0], shape[2], n)), ("bij,jk->bik", (shape[2], n)), ("bij->bji", None),
                ("...ij,...kj->...ik", (shape[0], n, shape[2])), ("bij,bij->b", shape), ("bij->bj", None),
            ]
        )  # fmt: skip
    g.add("Einsum", [x] if y is None else [x, g.weight(*y)], equation=equation)


def determinant(g: Growing) -> None:
    x = g.pick(rank=(2, 3, 4))
    *_, rows, columns = g.values[x].shape
    size = min(rows, columns, 4)
    last = g.values[x].ndim
    (square,) = g.moved(
        "Slice", [x, g.integers([0, 0]), g.integers([size, size]), g.integers([last - 2, last - 1])]
    )
    g.add("Det", [square])


def spread(g: Growing) -> None:
    """MeanVarianceNormalization, LpPool."""
    x = g.pick(rank=(4,))
    if g.maybe():
        axes = g.one_of([None, [0, 2, 3], [1, 2, 3], [2, 3]])
        value = np.moveaxis(g.values[x], axes or [0, 2, 3], range(len(axes or [0, 2, 3])))
        _spread(value.reshape(int(np.prod(value.shape[: len(axes or [0, 2, 3])])), -1).T)
        g.add("MeanVarianceNormalization", [x], axes=axes)
    else:
        given = window(g, g.values[x].shape[2:], pool=True)
        given.pop("dilations", None)
        g.add("LpPool", [x], p=g.one_of((None, 1, 3)), **given)


STEPS: tuple[Step, ...] = (
    conv, conv, conv, conv_transpose, pool, pool, pool_all, normalize, matmul, matmul, gemm, gemm, reduce,
    reduce, arg, top, softmax, cumulative, local_response, one_hot, pool_and_back, loss, einsum, determinant,
    spread,
)  # fmt: skip
