"""Attention masks: constants so large that no quantization range should cover them.

A mask adds -inf, -3e38 or -10000 to the scores that Softmax is to ignore. A range that covered it would have
a step wider than all real scores, so the nodes between the constant and its Softmax stay in float.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from sprue.graph import weights
from sprue.passes.normal_form import nodes

LARGE = 1e4
"""What exporters use as "minus infinity" starts here; trained weights and biases stay far below."""
FINITE = 65504.0
"""What an infinite mask becomes: far below any score, and finite in float16 too."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")
CARRIES = (
    *("Add", "Cast", "Concat", "Expand", "Gather", "Identity", "Mul", "Reshape", "Slice", "Squeeze", "Sub"),
    *("Tile", "Transpose", "Unsqueeze", "Where"),
)


def infinite_weights(model: ModelProto) -> list[str]:
    """Names of constants that no mask explains: NaN anywhere, infinity in what an operator multiplies by."""
    multiplied = {i for n in nodes(model.graph) if n.op_type in WEIGHTED for i in n.input}
    floats = {k: v for k, v in weights(model).items() if v.dtype.kind == "f"}
    bad = {k for k, v in floats.items() if np.isnan(v).any()}
    return sorted(bad | {k for k, v in floats.items() if k in multiplied and np.isinf(v).any()})


def finite_masks(model: ModelProto) -> ModelProto:
    """A copy in which infinite constants are +-65504, so that ranges can be computed."""
    made = ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and np.isinf(array).any():
            finite = np.where(np.isinf(array), np.sign(array) * FINITE, array).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(finite, tensor.name))
    return made


def masking_nodes(model: ModelProto) -> list[str]:
    """Names of the nodes that a large constant flows through, up to and with its Softmax."""
    floats = {k: v for k, v in weights(model).items() if v.dtype.kind == "f" and v.size}
    flows = {k for k, v in floats.items() if np.abs(v).max() >= LARGE}
    found = []
    for node in model.graph.node:  # in topological order, so one walk follows every flow
        if flows.isdisjoint(node.input) or node.op_type not in (*CARRIES, "Softmax"):
            continue
        found.append(node.name)
        if node.op_type != "Softmax":
            flows.update(_outputs(node))
    return found


def _outputs(node: NodeProto) -> list[str]:
    return [o for o in node.output if o]
