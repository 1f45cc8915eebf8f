"""Which layers x86 without VNNI would compute wrongly, had their weights all 8 bits: named, with figures.

The int8 weights are taken anew from the float ones, without repair, and multiplied as `vpmaddubsw` would with
the activations that the calibration data cause. `sprue.passes.saturation` has the arithmetic, and the repair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from sprue.graph import attributes, serialise, weights
from sprue.passes import saturation as pairs
from sprue.passes.quantize_static import calibration_feeds

if TYPE_CHECKING:
    from sprue.backend import Samples

Array = NDArray[np.generic]

SAMPLES = 8
REPAIRED = "8-bit weights that would saturate without VNNI, repaired"
ROWS = 64
"""Positions of a layer's output that are emulated, spread evenly: the figures are an estimate."""


@dataclass(frozen=True)
class Saturating:
    """`channels` of `outputs` have neighbouring weights that can saturate.

    On the calibration data: `clamped`, the share of pairs of products that were, and `error`, what that adds
    to the layer's output, as a share of its root mean square.
    """

    node: str
    op: str
    channels: int
    outputs: int
    clamped: float
    error: float

    def __str__(self) -> str:
        seen = f"{100 * self.clamped:.3g} % of its pairs clamped, an error of {100 * self.error:.3g} %"
        return f"{self.node} ({self.channels} of {self.outputs} channels; {seen})"


def saturating(model: ModelProto, quantized: ModelProto, calibration: Samples) -> list[Saturating]:
    """The layers of `quantized` that need a repair. `model`: the float model that it was made of."""
    floats = weights(model)
    found = []
    for weight in pairs.quantized_weights(quantized):
        real = floats.get(weight.name.removesuffix("_quantized"))
        if real is None:
            continue
        stored = _eight_bits(real, weight.axis)
        broken = pairs.worst_pairs(pairs.orders_of(weight, stored)) > pairs.SAFE
        if broken.any():
            found.append((weight, stored, int(broken.sum()), broken.size))
    seen = _activations(quantized, [w.node for w, *_ in found], calibration)
    made = []
    for weight, stored, channels, outputs in found:
        share, error = _emulated(weight.node, stored, seen.get(weight.node.name))
        made.append(Saturating(weight.node.name, weight.node.op_type, channels, outputs, share, error))
    return made


def _eight_bits(real: Array, axis: int | None) -> Array:
    """Symmetric int8, as the quantizer makes it: one scale for each output channel, or for all."""
    over = None if axis is None else tuple(i for i in range(real.ndim) if i != axis % real.ndim)
    largest = np.abs(real.astype(np.float64)).max(axis=over, keepdims=True)
    scale = np.where(largest > 0, largest, 1) / 127
    stored: Array = np.clip(np.rint(real.astype(np.float64) / scale), -127, 127).astype(np.int8)
    return stored


def _activations(quantized: ModelProto, layers: list[NodeProto], calibration: Samples) -> Mapping[str, Array]:
    """What each layer reads, in u8, by the layer's name."""
    import onnxruntime as ort

    after = {o: n for n in quantized.graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    read = {n.name: after[n.input[0]].input[0] for n in layers if n.input[0] in after}
    if not read:
        return {}
    shown = ModelProto()
    shown.CopyFrom(quantized)
    for name in dict.fromkeys(read.values()):
        shown.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, None))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(serialise(shown), options, providers=["CPUExecutionProvider"])
    feed = next(iter(calibration_feeds(quantized, calibration, chunk=SAMPLES)))
    names = list(dict.fromkeys(read.values()))
    made = dict(zip(names, session.run(names, feed), strict=True))
    return {layer: made[name] for layer, name in read.items()}


def _emulated(node: NodeProto, stored: Array, read: Array | None) -> tuple[float, float]:
    """The share of pairs that were clamped, and the error that it made. 0 where nothing is known."""
    if read is None:
        return 0.0, 0.0
    parts = list(_products(node, read, stored))
    exact, clamped, count, of = (np.zeros(0), np.zeros(0), 0, 0)
    for activations, matrix in parts:
        right, wrong, caught = pairs.pair_sums(_spread(activations), matrix)
        exact, clamped = np.append(exact, right), np.append(clamped, wrong)
        count += caught
        of += right.size * -(-matrix.shape[1] // 2)
    size = float(np.sqrt(np.mean(exact**2))) if exact.size else 0.0
    error = float(np.sqrt(np.mean((clamped - exact) ** 2))) if exact.size else 0.0
    return float(f"{count / max(of, 1):.3g}"), float(f"{error / max(size, 1e-30):.3g}")


def _spread(activations: Array) -> Array:
    at = np.linspace(0, len(activations) - 1, min(ROWS, len(activations))).astype(int)
    return np.take(activations, at, axis=0)


def _products(node: NodeProto, read: Array, stored: Array) -> list[tuple[Array, Array]]:
    """u8 [positions, K] and s8 [outputs, K] for each group of the layer, channels last."""
    if node.op_type == "Conv":
        known = attributes(node)
        group = known.get("group", 1)
        assert isinstance(group, int)
        windows = _windows(read, stored.shape[2:], known)  # [positions, kernel..., channels]
        outputs = len(stored) // group
        channels = stored.shape[1]
        return [
            (
                windows[..., g * channels : (g + 1) * channels].reshape(len(windows), -1),
                np.moveaxis(stored[g * outputs : (g + 1) * outputs], 1, -1).reshape(outputs, -1),
            )
            for g in range(group)
        ]
    if node.op_type == "ConvTranspose" or stored.ndim != 2:
        return []
    matrix = stored if attributes(node).get("transB", 0) else stored.T
    rows = read.T if attributes(node).get("transA", 0) else read.reshape(-1, read.shape[-1])
    return [(rows, matrix)]


def _windows(read: Array, kernel: tuple[int, ...], known: Mapping[str, object]) -> Array:
    """[N, C, H, W] -> [positions, kernel..., C]: what each position of the output is computed from.

    The padding is 0 and not the zero point: an estimate at the border, exact where Relu came before.
    """
    axes = len(kernel)

    def numbers(name: str, default: int, count: int) -> list[int]:
        value = known.get(name)
        return [int(v) for v in value] if isinstance(value, list) and value else [default] * count

    pads, strides, dilations = (
        numbers("pads", 0, 2 * axes),
        numbers("strides", 1, axes),
        numbers("dilations", 1, axes),
    )
    padded = np.pad(read, [(0, 0), (0, 0), *((pads[i], pads[i + axes]) for i in range(axes))])
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, 2 + axes)))
    steps = tuple(slice(None, None, s) for s in strides)
    inside = tuple(slice(None, None, d) for d in dilations)
    seen = seen[(slice(None), slice(None), *steps, *inside)]
    last = np.moveaxis(seen, 1, -1)  # [N, positions..., kernel..., C]
    return last.reshape(-1, *kernel, read.shape[1])
