"""The weights of a model's layers, and the model with others in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from sprue.graph import normalise
from sprue.passes.masks import WEIGHTED
from sprue.passes.normal_form import nodes, normal_form

Weights = NDArray[np.float32]


def with_layer_weights(model: ModelProto, changed: Callable[[Weights], Weights]) -> ModelProto | None:
    """The model with each layer's weights as `changed` returns them, of the same shape; None if it has none.

    Biases, embeddings and normalisations stay as they are.
    """
    made = normalise(model)
    found = list(layer_weights(made))
    for tensor in found:
        tensor.CopyFrom(numpy_helper.from_array(changed(numpy_helper.to_array(tensor)), tensor.name))
    return normal_form(made) if found else None


def layer_weights(model: ModelProto) -> Iterator[TensorProto]:
    """The float32 matrices and kernels of the layers, each once."""
    multiplied = {name for n in nodes(model.graph) if n.op_type in WEIGHTED for name in n.input[1:]}
    for tensor in model.graph.initializer:
        if tensor.name in multiplied and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            yield tensor
