"""Steps by which a random graph grows: attention, and what exporters write out that lowerings put together.

A lowering that fuses a group of nodes can take one for it that differs in one place: so each pattern is
written as it is known, or with something else in one place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .growing import Growing, Skip
from .steps import Step


def gelu(g: Growing) -> None:
    """x / sqrt 2 -> erf -> + 1 -> * x -> * 0.5, in any order."""
    x = g.pick()
    root = math.sqrt(2) if g.maybe(4) or g.maybe() else g.one_of((1.5, math.sqrt(2) + 1e-3))
    if g.maybe():
        (scaled,) = g.add("Div", [x, g.constant(root, "float32")])
    else:
        (scaled,) = g.add("Mul", [x, g.constant(1 / root, "float32")])
    (erf,) = g.add("Erf", [scaled])
    (grown,) = g.add("Add", _either(g, erf, g.constant(1.0, "float32")))
    half = g.constant(0.5 if g.maybe(4) or g.maybe() else 0.6, "float32")
    first, second, third = g.one_of([(x, grown, half), (x, half, grown), (grown, half, x)])
    (made,) = g.add("Mul", _either(g, first, second))
    g.add("Mul", _either(g, made, third))


def _either(g: Growing, a: str, b: str) -> list[str]:
    return [a, b] if g.maybe() else [b, a]


def written_norm(g: Growing) -> None:
    """LayerNormalization, or with its root of the mean square, written out."""
    x = g.pick(rank=(2, 3, 4))
    value = g.values[x]
    if value.reshape(-1, value.shape[-1]).std(axis=1).min() < 0.1:
        raise Skip
    axis = g.one_of((-1, value.ndim - 1))
    centred = x
    if g.maybe(4) or g.maybe():
        centred = g.add("Sub", [x, _mean(g, x, axis)])[0]
    if g.maybe():
        (square,) = g.add("Pow", [centred, g.constant(2.0, "float32")])
    else:
        (square,) = g.add("Mul", [centred, centred])
    (grown,) = g.add("Add", [_mean(g, square, axis), g.constant(1e-5, "float32")])
    (root,) = g.add("Sqrt", [grown])
    (made,) = g.add("Div", [centred, root])
    if g.maybe():
        (made,) = g.add("Mul", [made, g.weight(value.shape[-1])])
        g.add("Add", _either(g, made, g.weight(value.shape[-1])))


def _mean(g: Growing, x: str, axis: int) -> str:
    if g.opset >= 18:
        return g.add("ReduceMean", [x, g.integers([axis])], keepdims=1)[0]
    return g.add("ReduceMean", [x], axes=[axis], keepdims=1)[0]


def written_activation(g: Growing) -> None:
    """x * sigmoid x, x * clip(x + 3) / 6, x * tanh softplus x, a slope by Max, Relu6 by Min and Max."""
    x = g.pick()
    kind = g.choose(0, 4)
    if kind == 0:
        (gate,) = g.add("Sigmoid", [x])
    elif kind == 1:
        (moved,) = g.add("Add", [x, g.constant(3.0, "float32")])
        (cut,) = g.add("Clip", [moved, g.constant(0.0, "float32"), g.constant(6.0, "float32")])
        (gate,) = g.add("Div", [cut, g.constant(g.one_of((6.0, 6.0, 5.0)), "float32")])
    elif kind == 2:
        (soft,) = g.add("Softplus", [x])
        (gate,) = g.add("Tanh", [soft])
    elif kind == 3:
        (sloped,) = g.add("Mul", [x, g.constant(g.one_of((0.1, 1.2)), "float32")])
        g.add("Max", [x, sloped])
        return
    else:
        (made,) = g.add("Max", [x, g.constant(0.0, "float32")])
        g.add("Min", [made, g.constant(6.0, "float32")])
        return
    g.add("Mul", _either(g, x, gate))


def written_attention(g: Growing) -> None:
    """Heads of Q, K and V from one tensor [batch, time, features]; softmax of their products; a mask."""
    x = g.pick(rank=(3,))
    batch, time, size = g.values[x].shape
    heads, width = g.choose(1, 2), g.choose(1, 3)
    q, k, v = (_heads(g, x, size, heads, width) for _ in range(3))
    (turned,) = g.moved("Transpose", [k], perm=[0, 1, 3, 2])
    (scores,) = g.add("MatMul", [q, turned])
    (scores,) = g.add("Div", [scores, g.constant(math.sqrt(width), "float32")])
    if g.maybe():
        mask = np.where(np.tri(time, dtype=bool), 0, g.one_of((-1e4, -3.0)))
        (scores,) = g.add("Add", [scores, g.constant(mask, "float32")])
    (share,) = g.add("Softmax", [scores], axis=-1)
    (mixed,) = g.add("MatMul", [share, v])
    (mixed,) = g.moved("Transpose", [mixed], perm=[0, 2, 1, 3])
    (flat,) = g.moved("Reshape", [mixed, g.integers([g.one_of((0, batch)), time, heads * width])])
    (out,) = g.add("MatMul", [flat, g.weight(heads * width, size)])
    g.add("Add", _either(g, out, x))


def _heads(g: Growing, x: str, size: int, heads: int, width: int) -> str:
    (made,) = g.add("MatMul", [x, g.weight(size, heads * width)])
    if g.maybe():
        (made,) = g.add("Add", [made, g.weight(heads * width)])
    (split,) = g.moved("Reshape", [made, g.integers([0, -1, heads, width])])
    return g.moved("Transpose", [split], perm=[0, 2, 1, 3])[0]


def _rows(g: Growing, features: int, most: int = 12) -> tuple[str, int]:
    """[1, time, features] of any tensor, and its time."""
    x = g.pick(rank=(2, 3, 4))
    last = g.values[x].shape[-1]
    time = g.values[x].size // last
    if time > most:
        raise Skip
    (flat,) = g.moved("Reshape", [x, g.integers([1, -1, last])])
    return g.add("MatMul", [flat, g.weight(last, features)])[0], time


def _split(g: Growing, x: str, heads: int) -> str:
    """[1, time, features] -> [1, heads, time, width]."""
    (made,) = g.moved("Reshape", [x, g.integers([0, 0, heads, -1])])
    return g.moved("Transpose", [made], perm=[0, 2, 1, 3])[0]


def attention(g: Growing) -> None:
    """The operator: 3 or 4 axes, fewer heads for keys, a mask of numbers or of booleans, a cache."""
    shared, width, value_width = g.choose(1, 2), g.choose(1, 4), g.choose(1, 4)
    heads = shared * g.choose(1, 2)
    q, time = _rows(g, heads * width)
    keys, flat = g.choose(1, 5), g.maybe()
    given: dict[str, Any] = {}
    if flat:
        k, v = g.weight(1, keys, shared * width), g.weight(1, keys, shared * value_width)
        given = {"q_num_heads": heads, "kv_num_heads": shared}
    else:
        q = _split(g, q, heads)
        k, v = g.weight(1, shared, keys, width), g.weight(1, shared, keys, value_width)
    inputs = [q, k, v]
    before = g.choose(1, 3) if g.maybe(4) else 0
    inputs.append(_mask(g, time, keys + before, heads) if g.maybe() else "")
    if before:
        inputs += [g.weight(1, shared, before, width), g.weight(1, shared, before, value_width)]
    given |= {
        # of one query onnxruntime forgets that it is causal
        "is_causal": g.choose(0, 1) if time > 1 else None, "scale": g.one_of((None, 0.5)),
        "softcap": g.one_of((None, None, 2.0)),
        "qk_matmul_output_mode": g.one_of((None, 0, 1, 2, 3)),
    }  # fmt: skip
    while not inputs[-1]:
        inputs.pop()
    g.add("Attention", inputs, g.one_of((1, 3, 4) if before else (1, 1, 4)), **given)


def _mask(g: Growing, time: int, keys: int, heads: int) -> str:
    shape = g.one_of([(time, keys), (1, 1, time, keys), (1, heads, time, keys)])
    if g.maybe():
        return g.constant(g.random("float32", shape))
    held = g.random("bool", shape)
    held[..., 0] = True  # a row of which nothing is left is not defined
    return g.constant(held)


def rotary(g: Growing) -> None:
    heads, width = g.choose(1, 3), 2 * g.choose(1, 3)
    q, time = _rows(g, heads * width)
    turned = 2 * g.choose(1, width // 2) if g.maybe(3) else width
    rows = time + g.choose(0, 3) if g.maybe() else None
    rng = np.random.default_rng(g.choose(0, 99))
    angles = rng.uniform(-3, 3, (*([rows] if rows else [1, time]), turned // 2))
    inputs = [g.constant(np.cos(angles), "float32"), g.constant(np.sin(angles), "float32")]
    if rows:
        inputs.append(g.integers(rng.integers(0, rows, (1, time))))
    given: dict[str, Any] = {"interleaved": g.choose(0, 1)}
    if turned != width:
        given["rotary_embedding_dim"] = turned
    if g.maybe():
        q = _split(g, q, heads)
    if turned != width or g.values[q].ndim == 3:
        given["num_heads"] = heads
    g.add("RotaryEmbedding", [q, *inputs], **given)


def state_space(g: Growing) -> None:
    """A causal convolution along time with the values before it, and a gated linear layer behind."""
    x = g.pick(rank=(3,))
    batch, channels, _ = g.values[x].shape
    kernel = g.choose(1, 4)
    inputs = [x, g.weight(channels, 1, kernel)]
    inputs.append(g.weight(channels) if g.maybe() else "")
    if g.maybe():
        inputs.append(g.weight(batch, channels, kernel - 1))
    while not inputs[-1]:
        inputs.pop()
    g.add("CausalConvWithState", inputs, 2, activation=g.one_of((None, "none", "silu")))


def linear_attention(g: Growing) -> None:
    heads, width = g.choose(1, 2), g.choose(1, 3)
    q, time = _rows(g, heads * width)
    rule = g.one_of(("linear", "gated", "delta", "gated_delta"))
    wide = g.choose(1, 3)
    inputs = [q, g.weight(1, time, heads * width), g.weight(1, time, heads * wide)]
    inputs.append(g.weight(1, heads, width, wide) if g.maybe() else "")
    decay = -np.abs(g.random("float32", (1, time, heads * width if g.maybe() else heads), 0.5))
    inputs.append(g.constant(decay) if "gated" in rule else "")
    inputs.append(g.constant(np.full((1, time, heads), 0.3), "float32") if "delta" in rule else "")
    while not inputs[-1]:
        inputs.pop()
    g.add(
        "LinearAttention", inputs, 2, q_num_heads=heads, kv_num_heads=heads, update_rule=rule,
        scale=g.one_of((None, 0.5)),
    )  # fmt: skip


def gated(g: Growing) -> None:
    x = g.pick()
    y = g.one_of([n for n, v in g.values.items() if v.shape == g.values[x].shape and v.dtype == np.float32])
    g.add("SwiGLU", [x, y], alpha=g.one_of((None, 0.5)))


def cache_write(g: Growing) -> None:
    x = g.pick(rank=(3, 4))
    shape = g.values[x].shape
    axis = g.choose(1, len(shape) - 1)
    count = g.choose(1, shape[axis])
    update = g.random("float32", [count if i == axis else d for i, d in enumerate(shape)])
    at = g.integers([g.choose(0, shape[axis] - count) for _ in range(shape[0])])
    mode = g.one_of((None, "linear", "circular"))
    g.moved("TensorScatter", [x, g.constant(update), at], axis=axis - len(shape), mode=mode)


def by_shape(g: Growing) -> None:
    """What exporters compute of a shape: expanded, filled and counted like another tensor."""
    x = g.pick(rank=(1, 2, 3, 4))
    rank = g.values[x].ndim
    kind = g.choose(0, 4)
    if kind == 0:
        (shape,) = g.add("Shape", [x])
        rest = [1] * (rank - 1) + [g.choose(1, 3)]
        g.moved("Expand", [g.constant(g.random("float32", rest)), shape])
    elif kind == 1:
        (shape,) = g.add("Shape", [x])
        (full,) = g.moved("ConstantOfShape", [shape])
        g.add("Add", _either(g, full, x))
    elif kind == 2:
        (count,) = g.add("Size", [x])
        (real,) = g.add("Cast", [count], to=1)
        g.add("Div", [x, real])
    elif kind == 3 and g.opset >= 15:
        start = g.choose(-rank, rank - 1)
        (shape,) = g.add("Shape", [x], start=start, end=g.one_of((None, rank)))
        (real,) = g.add("Cast", [shape], to=1)
        (whole,) = g.add("ReduceProd", [real], keepdims=0)
        g.add("Div", [x, whole])
    else:
        (shape,) = g.add("Shape", [x])
        (length,) = g.add("Gather", [shape, g.integers(rank - 1)], axis=0)
        (places,) = g.add("Range", [g.integers(0), length, g.integers(1)])
        (real,) = g.add("Cast", [places], to=1)
        g.add("Add", [x, real])


STEPS: tuple[Step, ...] = (
    gelu, written_norm, written_activation, written_attention, attention, attention, rotary, state_space,
    linear_attention, gated, cache_write, by_shape, by_shape,
)  # fmt: skip
