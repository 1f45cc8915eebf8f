"""Sparsify: magnitude pruning, the smallest weights become zero (Han et al., "Deep Compression", 2016).

Tensors keep their shape, so on runtimes with dense kernels, which is all of ours, it makes nothing faster and
no file smaller before it is compressed. The build says so with figures, and refuses what gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from sprue.errors import CheckError
from sprue.graph import normalise
from sprue.passes.masks import WEIGHTED
from sprue.passes.normal_form import nodes, normal_form

if TYPE_CHECKING:
    from sprue.backend import Samples


@dataclass(frozen=True)
class Sparsify:
    """Set the `share` of smallest weights of every layer to zero.

    Before::

        Conv(x, w = [0.5, -0.1, 0.2, -0.9])

    After `Sparsify(0.5)`::

        Conv(x, w = [0.5,  0.0, 0.0, -0.9])

    Biases, embeddings and normalisations stay as they are.
    """

    share: float

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The sparse model. Raises CheckError when no layer has weights."""
        made = normalise(model)
        found = list(layer_weights(made))
        if not found:
            raise CheckError("no layer has weights that could become zero", remedy="leave out `sparsity`")
        for tensor in found:
            values = numpy_helper.to_array(tensor).copy()
            order = np.argsort(np.abs(values), axis=None, kind="stable")
            values.reshape(-1)[order[: int(self.share * values.size)]] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return normal_form(made)


def layer_weights(model: ModelProto) -> Iterator[TensorProto]:
    """The float32 matrices and kernels of the layers, each once."""
    multiplied = {name for n in nodes(model.graph) if n.op_type in WEIGHTED for name in n.input[1:]}
    for tensor in model.graph.initializer:
        if tensor.name in multiplied and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            yield tensor
