"""Which layers int8 hurts most: the order in which mixed precision leaves them in float.

One pass over the calibration data. Beside each quantized layer of the float model stands a twin: the same
layer with quantized weights, fed by the float activations through their quantizers. A layer's noise is what
its twin adds: sum((twin - layer)^2) / sum(layer^2) over all samples, dimensionless. What a layer inherits
from those before it is not counted, so the last ones are not blamed for the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from sprue.graph import serialise
from sprue.passes.normal_form import infer_shapes
from sprue.passes.quantize_static import QuantizeStatic, calibration_feeds
from sprue.passes.quiet import quiet_onnxruntime

if TYPE_CHECKING:
    from sprue.backend import Samples

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
TWIN = "sprue_twin/"
SMALLEST = 1e-30
"""Of a layer's signal: one that is always zero is not infinitely noisy."""


@dataclass(frozen=True)
class Layer:
    """A node, and the share of its output's energy that int8 turns into noise."""

    node: str
    op: str
    noise: float


def rank(model: ModelProto, calibration: Samples) -> list[Layer]:
    """The layers that static int8 would quantize, the noisiest first. `model` is a simplified float model.

    Raises SprueError for calibration data that cannot be used.
    """
    quantized = QuantizeStatic(activations="uint8").apply(model, calibration)
    twins = list(_twins(model, quantized))
    if not twins:
        return []
    compared = _compared(model, quantized, twins)
    noise = np.zeros(len(twins))
    signal = np.zeros(len(twins))
    names = [f"{TWIN}{i}/{what}" for i in range(len(twins)) for what in ("noise", "signal")]
    with quiet_onnxruntime():
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # twins stay apart
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(serialise(compared), options, providers=["CPUExecutionProvider"])
        for feed in calibration_feeds(model, calibration):
            sums = np.array([float(value) for value in session.run(names, feed)])
            noise += sums[0::2]
            signal += sums[1::2]
    shares = noise / np.maximum(signal, SMALLEST)
    ranked = [
        Layer(twin.name, twin.op_type, float(f"{share:.6g}"))
        for (twin, _), share in zip(twins, shares, strict=True)
    ]
    return sorted(ranked, key=lambda layer: (-layer.noise, layer.node))


def _twins(model: ModelProto, quantized: ModelProto) -> Iterator[tuple[NodeProto, list[NodeProto]]]:
    """Each layer of the float model, and the nodes of its twin, whose output is the last one's.

    `QuantizeLinear` reads the tensor of the same name in the float model; where the quantizer dropped a Relu
    that the zero point makes up for, it reads the tensor before it, and clips the same.
    """
    producers = {o: n for n in quantized.graph.node for o in n.output}
    floats = {o for n in model.graph.node for o in n.output} | {v.name for v in model.graph.input}
    by_name = {n.name: n for n in quantized.graph.node if n.op_type in LAYERS}
    for index, node in enumerate(n for n in model.graph.node if n.op_type in LAYERS):
        other = by_name.get(node.name)
        if other is None or not any(_dequantized(producers, i) for i in other.input):
            continue
        prefix = f"{TWIN}{index}/"
        made: list[NodeProto] = []
        twin = NodeProto.FromString(other.SerializeToString())
        for slot, name in enumerate(other.input):
            after = producers.get(name)
            if after is None or after.op_type != "DequantizeLinear":
                continue
            before = producers.get(after.input[0])
            if before is not None and before.input[0] not in floats:
                break
            made += [_renamed(n, prefix) for n in (before, after) if n is not None]
            if before is not None:
                made[-1].input[0] = prefix + after.input[0]
            twin.input[slot] = prefix + name
        else:
            twin.output[0], twin.name = f"{prefix}{node.output[0]}", f"{prefix}{node.name}"
            # one Quantize node may feed two inputs of a product
            yield node, [*{n.name: n for n in made}.values(), twin]


def _dequantized(producers: dict[str, NodeProto], name: str) -> bool:
    return name in producers and producers[name].op_type == "DequantizeLinear"


def _renamed(node: NodeProto, prefix: str) -> NodeProto:
    """A copy whose node and output have other names; a Quantize node's input keeps its own."""
    made = NodeProto()
    made.CopyFrom(node)
    made.name, made.output[0] = prefix + node.name, prefix + node.output[0]
    return made


def _compared(
    model: ModelProto, quantized: ModelProto, twins: list[tuple[NodeProto, list[NodeProto]]]
) -> ModelProto:
    """The float model with all twins, and for each the sums of squares of its error and of its layer."""
    made = ModelProto()
    made.CopyFrom(infer_shapes(model))
    there = {t.name for t in made.graph.initializer}
    made.graph.initializer.extend(t for t in quantized.graph.initializer if t.name not in there)
    opsets = {o.domain: o.version for o in quantized.opset_import}
    made.ClearField("opset_import")
    made.opset_import.extend(helper.make_opsetid(d, v) for d, v in sorted(opsets.items()))
    made.ir_version = max(made.ir_version, quantized.ir_version)
    for index, (node, nodes) in enumerate(twins):
        made.graph.node.extend(nodes)
        prefix, output = f"{TWIN}{index}/", node.output[0]
        error = f"{prefix}error"
        made.graph.node.append(helper.make_node("Sub", [nodes[-1].output[0], output], [error], error))
        for name, of in ((f"{prefix}noise", error), (f"{prefix}signal", output)):
            made.graph.node.append(helper.make_node("ReduceSumSquare", [of], [name], name, keepdims=0))
            made.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    return made
