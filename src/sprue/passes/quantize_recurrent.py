"""QuantizeRecurrent: int8 weights for LSTM and GRU, which the static quantizer leaves in float32.

Activations stay float: gates are sensitive, and most of such a network's bytes are its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from sprue.graph import normalise, weights
from sprue.passes.normal_form import normal_form
from sprue.passes.quantize_static import check_weights

if TYPE_CHECKING:
    from sprue.backend import Samples

OPERATORS = ("LSTM", "GRU")
W, R = 1, 2
"""Their inputs that hold weights: [directions, gates * hidden, inputs or hidden]."""


@dataclass(frozen=True)
class QuantizeRecurrent:
    """Symmetric int8 weights for every LSTM and GRU, one scale for each gate of each unit.

    Before::

        LSTM(x, W, R, B)

    After::

        LSTM(x, DequantizeLinear(W int8), DequantizeLinear(R int8), B)

    Both directions share the scales, for DequantizeLinear has one channel axis. Weights that are computed at
    run time stay as they are.
    """

    version: ClassVar[int] = 2
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The model with int8 weights. Raises SprueError when weights hold NaN or infinity."""
        made = normalise(model)
        if not any(n.op_type in OPERATORS for n in made.graph.node):
            return made
        check_weights(made)
        known = weights(made)
        pairs: dict[str, NodeProto] = {}
        for node in made.graph.node:
            for position in (W, R):
                if node.op_type in OPERATORS and node.input[position] in known:
                    name = node.input[position]
                    if name not in pairs:
                        pairs[name] = _pair(made, name, known[name].astype(np.float32))
                    node.input[position] = pairs[name].output[0]
        kept = [*pairs.values(), *(NodeProto.FromString(n.SerializeToString()) for n in made.graph.node)]
        made.graph.ClearField("node")
        made.graph.node.extend(kept)
        return normal_form(made)


def _pair(model: ModelProto, name: str, values: NDArray[np.float32]) -> NodeProto:
    """Add the int8 weights and their scales as initializers; the node that dequantizes them."""
    scale = np.abs(values).max(axis=(0, 2)).astype(np.float32) / np.float32(127)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    stored = np.clip(np.rint(values / scale[None, :, None]), -127, 127).astype(np.int8)
    names = [f"{name}_int8", f"{name}_int8_scale", f"{name}_int8_zero_point"]
    arrays = (stored, scale, np.zeros(len(scale), np.int8))
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True))
    return helper.make_node("DequantizeLinear", names, [f"{name}_real"], f"{name}_DequantizeLinear", axis=1)
