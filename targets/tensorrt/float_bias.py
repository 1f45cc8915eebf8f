"""FloatBias: biases that a quantizer made int32, back in float32.

onnxruntime's quantizer writes a bias as int32 with its own DequantizeLinear. TensorRT's parser refuses that
node: it dequantizes 8 bits and fewer, and adds biases in float.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from sprue import graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprue.backend import Samples


@dataclass(frozen=True)
class FloatBias:
    """Fold every DequantizeLinear of an int32 initializer.

    Before::

        x -> Q -> DQ -> Conv(DQ(w int8), DQ(b int32)) -> y

    After::

        x -> Q -> DQ -> Conv(DQ(w int8), b float32) -> y
    """

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """y = (x - zero point) * scale, as ONNX defines DequantizeLinear, computed here in float32."""
        made = ModelProto()
        made.CopyFrom(model)
        constants = graph.weights(made)
        folded = [n for n in made.graph.node if _is_int32_constant(n, constants)]
        for node in folded:
            bias = np.ascontiguousarray(_dequantized(node, constants))
            made.graph.initializer.append(numpy_helper.from_array(bias, node.output[0]))
            made.graph.node.remove(node)
        used = {name for node in made.graph.node for name in node.input} | {o.name for o in made.graph.output}
        for tensor in [t for t in made.graph.initializer if t.name not in used]:
            made.graph.initializer.remove(tensor)
        inferred = {n.output[0] for n in folded}
        for value in [v for v in made.graph.value_info if v.name in inferred]:
            made.graph.value_info.remove(value)
        return made


def _is_int32_constant(node: NodeProto, constants: dict[str, NDArray[np.generic]]) -> bool:
    if node.op_type != "DequantizeLinear" or not all(not n or n in constants for n in node.input):
        return False
    return constants[node.input[0]].dtype == np.int32


def _dequantized(node: NodeProto, constants: dict[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    value = constants[node.input[0]].astype(np.int64)
    scale = constants[node.input[1]].astype(np.float32)
    zero = constants[node.input[2]].astype(np.int64) if len(node.input) > 2 and node.input[2] else np.int64(0)
    axis = graph.attributes(node).get("axis", 1)
    if scale.ndim == 1 and scale.size > 1 and isinstance(axis, int):
        along = [1] * value.ndim
        along[axis % value.ndim] = -1
        scale, zero = scale.reshape(along), np.reshape(zero, along) if np.ndim(zero) else zero
    result: NDArray[np.float32] = ((value - zero).astype(np.float32) * scale).astype(np.float32)
    return result
