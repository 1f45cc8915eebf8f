"""Products of u8 and s8 on x86 without VNNI: where they saturate, and weights with which they cannot.

`vpmaddubsw` multiplies unsigned by signed bytes and adds each two neighbours in 16 bits, clamped to
[-32768, 32767], with no sign that it did so (Intel SDM, volume 2; onnxruntime's and oneDNN's int8 kernels use
it on AVX2 and on AVX-512 without VNNI). With activations up to 255, two weights of one sign may add up to 128
at most: 255 * 128 = 32640, and 255 * 129 = 32895 is already too much. Halving the range of all weights (7
bits) keeps that everywhere; here only the channels that break it are scaled, and only as far as they must be.

Which two weights are neighbours depends on the kernel: they are taken in twos from the start of a row, and a
row holds a convolution's weights with the channels last (onnxruntime), last and filled up at each position
(oneDNN, and onnxruntime's indirect kernel), or first. A weight has to be safe in each of these orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from sprue.graph import attributes, weights

Array = NDArray[np.generic]
Double = NDArray[np.float64]

LARGEST, SMALLEST = 2**15 - 1, -(2**15)
SAFE = LARGEST // 255
"""What two neighbouring weights of one sign may add up to: 128."""
MIXING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Weight:
    """A quantized weight of a layer. `axis`: of its output channels; None where one scale serves all."""

    node: NodeProto
    name: str
    scale: str
    axis: int | None
    bias: NodeProto | None = None
    """The DequantizeLinear of the layer's int32 bias, whose scale is the input's times the weight's."""


def rows(weight: Array, op: str, transposed: bool = False, group: int = 1) -> list[Array]:
    """The weights as [output channels, products], in each order in which kernels may add neighbours.

    `weight`: [outputs, inputs / group, ...] of Conv; [inputs, outputs / group, ...] of ConvTranspose, whose
    products run over the inputs of one group; [..., inputs, outputs] of products, reversed if `transposed`.
    """
    if op == "Conv":
        last = np.moveaxis(weight, 1, -1)
        filled = np.pad(last, [(0, 0)] * (last.ndim - 1) + [(0, last.shape[-1] % 2)])
        return [order.reshape(len(weight), -1) for order in (last, filled, weight)]
    if op == "ConvTranspose":
        inputs, outputs = weight.shape[0] // group, weight.shape[1]
        grouped = weight.reshape(group, inputs, outputs, -1)
        return [np.moveaxis(grouped, 1, 3).reshape(group * outputs, -1)]
    columns = weight if transposed else np.swapaxes(weight, -1, -2)
    return [columns.reshape(-1, columns.shape[-1])]


def worst_pairs(orders: list[Array]) -> NDArray[np.float64]:
    """[output channels]: the largest sum of two neighbours of one sign, without its sign."""
    found = np.zeros(len(orders[0]))
    for order in orders:
        values = np.pad(order.astype(np.float64), ((0, 0), (0, order.shape[1] % 2)))
        for part in (np.maximum(values, 0), np.maximum(-values, 0)):
            found = np.maximum(found, (part[:, 0::2] + part[:, 1::2]).max(axis=1, initial=0))
    return found


def mixes(node: NodeProto, shape: tuple[int, ...]) -> bool:
    """Whether the layer's kernel adds pairs: that of a depthwise convolution does not."""
    group = attributes(node).get("group", 1)
    depthwise = node.op_type == "Conv" and shape[1] == 1 and group == shape[0]
    return node.op_type in MIXING and not depthwise


def orders_of(weight: Weight, values: Array) -> list[Array]:
    """`rows` for the weight of a layer."""
    known = attributes(weight.node)
    group = known.get("group", 1)
    assert isinstance(group, int)
    return rows(values, weight.node.op_type, bool(known.get("transB", 0)), group)


def quantized_weights(model: ModelProto) -> Iterator[Weight]:
    """The int8 weights of a QDQ model's layers that can saturate."""
    held = weights(model)
    after = {o: n for n in model.graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    for node in model.graph.node:
        pair = after.get(node.input[1]) if node.op_type in MIXING and len(node.input) > 1 else None
        if pair is None or pair.input[0] not in held or held[pair.input[0]].dtype != np.int8:
            continue
        values, scale = held[pair.input[0]], held[pair.input[1]]
        if not mixes(node, values.shape):
            continue
        axis = attributes(pair).get("axis", 1)
        assert isinstance(axis, int)
        bias = after.get(node.input[2]) if len(node.input) > 2 else None
        yield Weight(node, pair.input[0], pair.input[1], axis if scale.size > 1 else None, bias)


def repaired(model: ModelProto, floats: Mapping[str, Array]) -> ModelProto:
    """A QDQ model whose layers cannot saturate, whatever their inputs: same graph, some weights and scales.

    `floats`: the float weights, by the name that the quantizer made `<name>_quantized` of. Only channels with
    a pair beyond SAFE change: their scale grows until the largest pair fits, which costs one bit at most and
    half of one usually. Weights that other layers share are scaled once, for what all of them need.
    """
    made = ModelProto()
    made.CopyFrom(model)
    tensors = {t.name: t for t in made.graph.initializer}
    shared: dict[str, list[Weight]] = {}
    for weight in quantized_weights(made):
        shared.setdefault(weight.name, []).append(weight)
    for name, users in shared.items():
        real, first = floats.get(name.removesuffix("_quantized")), users[0]
        if real is not None:
            old = numpy_helper.to_array(tensors[first.scale]).astype(np.float64)
            new = _fitting(users, numpy_helper.to_array(tensors[name]), real, old)
            if (new != old).any():
                _store(tensors, first, real, new)
                for user in users:
                    _rescale(tensors, user, (new / old).reshape(-1))
    return made


def _fitting(users: list[Weight], stored: Array, real: Array, old: Double) -> Double:
    """Scales with which the rounded weights fit: rounding may add one to the sum of two."""
    new = old.copy()
    for user in users:
        broken = worst_pairs(orders_of(user, stored)) > SAFE
        wanted = np.where(broken, worst_pairs(orders_of(user, real)) / (SAFE - 1), 0.0)
        new = np.maximum(new, wanted.max() if old.size == 1 else wanted.reshape(old.shape))
    return new.astype(np.float32).astype(np.float64)


def _store(tensors: dict[str, TensorProto], weight: Weight, real: Array, scale: Double) -> None:
    shape = [1] * real.ndim
    if weight.axis is not None and scale.size > 1:
        shape[weight.axis] = scale.size
    steps = real.astype(np.float64) / scale.reshape(shape)
    stored = np.clip(np.rint(steps), -127, 127).astype(np.int8)
    tensors[weight.name].CopyFrom(numpy_helper.from_array(stored, weight.name))
    tensors[weight.scale].CopyFrom(numpy_helper.from_array(scale.astype(np.float32), weight.scale))


def _rescale(tensors: dict[str, TensorProto], weight: Weight, factor: Double) -> None:
    """The bias in steps that are `factor` times as large."""
    if weight.bias is None:
        return
    name, scale_name = weight.bias.input[0], weight.bias.input[1]
    stored = numpy_helper.to_array(tensors[name])
    scale = numpy_helper.to_array(tensors[scale_name])
    grown = np.rint(stored / factor).astype(np.int32)
    wider = (scale.reshape(-1) * factor).astype(np.float32)
    tensors[name].CopyFrom(numpy_helper.from_array(grown.reshape(stored.shape), name))
    wider = wider.reshape(scale.shape) if wider.size == scale.size else wider
    tensors[scale_name].CopyFrom(numpy_helper.from_array(wider, scale_name))


def pair_sums(activations: Array, stored: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """What `vpmaddubsw` makes of u8 [rows, K] times s8 [outputs, K], neighbours from the first on.

    Returns the exact sums [rows, outputs], those of sums of pairs clamped to 16 bits, and how many pairs were
    clamped.
    """
    odd = activations.shape[1] % 2
    a = np.pad(activations, ((0, 0), (0, odd))).astype(np.int32)
    w = np.pad(stored, ((0, 0), (0, odd))).astype(np.int32)
    exact = np.zeros((len(a), len(w)), np.int64)
    clamped, count = exact.copy(), 0
    for j in range(0, a.shape[1], 2):
        pairs = np.outer(a[:, j], w[:, j]) + np.outer(a[:, j + 1], w[:, j + 1])
        held = np.clip(pairs, SMALLEST, LARGEST)
        count += int((held != pairs).sum())
        exact += pairs
        clamped += held
    return exact, clamped, count
