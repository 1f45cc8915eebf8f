"""Batch, layer, instance and local response normalisation."""

from __future__ import annotations

import numpy as np

from ..emit import Array, Operation, Tensor, Unsupported
from ..layout import Graph, Laid
from ..registry import Node, computable, lowers

FLOAT = frozenset({"float32"})


@lowers("BatchNormalization")
def batch_normalization(g: Graph, node: Node) -> Laid:
    """scale * (x - mean) / sqrt(var + eps) + bias: folded into the convolution, else x * a + b."""
    value = node.input(0)
    if node.integer("training_mode") or any(o.name for o in node.outputs[1:]):
        raise Unsupported("batch normalisation in training mode", "export the model for inference")
    if not node.integer("spatial", 1):
        raise Unsupported("batch normalisation for each element", "export it with a newer operator set")
    epsilon = node.real("epsilon", 1e-5)
    given = [node.input(i) for i in range(1, 5)]
    perm, x = g.held(value)
    x = g.cast(x, computable(value.dtype, FLOAT))
    place = perm.index(1) if value.rank > 1 else 0
    around = tuple(-1 if i == place else 1 for i in range(value.rank))
    if all(v.const is not None for v in given):
        scale, bias, mean, variance = (np.asarray(v.const, np.float64) for v in given)
        factor = scale / np.sqrt(variance + epsilon)
        offset = bias - mean * factor
        alone = g.changeable(value)
        if alone is not None and alone[0] is x and _folded(g, x, factor, offset):
            x.holders -= 1  # the value before the normalisation is gone
            return x, perm
        made = g.mul(x, g.constant(factor.astype(np.float32).reshape(around)))
        made = g.add(made, g.constant(offset.astype(np.float32).reshape(around)))
        return g.cast(made, value.dtype), perm
    shape = tuple(value.shape[1] if a == -1 else 1 for a in around)
    s, b, m, v = (g.reshape(g.cast(g.tensor(t), np.float32), shape) for t in given)
    deviation = g.unary("SQRT", g.add(v, epsilon))
    made = g.add(g.mul(g.div(g.sub(x, m), deviation), s), b)
    return g.cast(made, value.dtype), perm


def _folded(g: Graph, x: Tensor, factor: Array, offset: Array) -> bool:
    """Scale the weights and the bias of the convolution that makes `x`, when nobody else sees them."""
    made: Operation | None = x.producer
    if made is None or made.code not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return False
    weights, bias = made.inputs[1], made.inputs[2]
    if weights is None or bias is None or weights.data is None or bias.data is None:
        return False
    if made.options.get("fusedActivationFunction", "NONE") != "NONE":
        return False
    out = (-1, 1, 1, 1) if made.code == "CONV_2D" else (1, 1, 1, -1)
    scaled = np.asarray(weights.data, np.float64) * factor.reshape(out)
    moved = np.asarray(bias.data, np.float64) * factor + offset
    made.inputs[1] = g.constant(scaled.astype(np.float32), hint=weights.name)
    made.inputs[2] = g.constant(moved.astype(np.float32), hint=bias.name)
    return True


@lowers("LayerNormalization")
def layer_normalization(g: Graph, node: Node) -> Tensor:
    """(x - mean) / sqrt(var + eps) * scale + bias over the axes from `axis` on."""
    value = node.input(0)
    if any(o.name for o in node.outputs[1:]):
        raise Unsupported("the mean and deviation as outputs", "use the first output only")
    axes = list(range(node.axis(-1), value.rank))
    x = g.cast(g.tensor(value), computable(value.dtype, FLOAT))
    made = _normalised(g, x, axes, node.real("epsilon", 1e-5))
    made = g.mul(made, g.cast(g.tensor(node.input(1)), x.dtype))
    bias = node.optional(2)
    if bias is not None:
        made = g.add(made, g.cast(g.tensor(bias), x.dtype))
    return g.cast(made, value.dtype)


def _normalised(g: Graph, x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = g.sub(x, g.reduce("MEAN", x, axes, True))
    variance = g.reduce("MEAN", g.mul(centred, centred), axes, True)
    return g.mul(centred, g.unary("RSQRT", g.add(variance, epsilon)))


@lowers("InstanceNormalization")
def instance_normalization(g: Graph, node: Node) -> Laid:
    value = node.input(0)
    perm, x = g.held(value)
    x = g.cast(x, computable(value.dtype, FLOAT))
    axes = [i for i, axis in enumerate(perm) if axis >= 2]
    shape = tuple(value.shape[1] if axis == 1 else 1 for axis in perm)
    scale, bias = (g.reshape(g.cast(g.tensor(node.input(i)), x.dtype), shape) for i in (1, 2))
    made = g.add(g.mul(_normalised(g, x, axes, node.real("epsilon", 1e-5)), scale), bias)
    return g.cast(made, value.dtype), perm


@lowers("LpNormalization")
def lp_normalization(g: Graph, node: Node) -> Laid:
    """x / ||x||_p along an axis; a zero vector stays zero."""
    value = node.input(0)
    perm, x = g.held(value)
    x = g.cast(x, computable(value.dtype, FLOAT))
    place = perm.index(node.axis(-1))
    sizes = g.unary("ABS", x) if node.integer("p", 2) == 1 else g.mul(x, x)
    norm = g.reduce("SUM", sizes, [place], True)
    norm = norm if node.integer("p", 2) == 1 else g.unary("SQRT", norm)
    zero = g.compare("EQUAL", norm, 0.0)
    safe = g.select(zero, g.constant(1.0, np.float32), norm)
    return g.cast(g.div(x, safe), value.dtype), perm


@lowers("LRN")
def local_response(g: Graph, node: Node) -> Laid:
    """ONNX divides alpha by the window's size, TFLite does not; an even window has no radius."""
    value = node.input(0)
    size = node.integer("size", 1)
    if value.rank != 4 or size % 2 == 0:
        raise Unsupported(f"LRN over {size} channels of rank {value.rank}", "use an odd size and rank 4")
    x = g.cast(g.view(value, (0, 2, 3, 1)), computable(value.dtype, FLOAT))
    made = g.unary(
        "LOCAL_RESPONSE_NORMALIZATION",
        x,
        radius=size // 2,
        bias=node.real("bias", 1.0),
        alpha=node.real("alpha", 1e-4) / size,
        beta=node.real("beta", 0.75),
    )
    return g.cast(made, value.dtype), (0, 2, 3, 1)
