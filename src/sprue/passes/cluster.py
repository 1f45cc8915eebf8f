"""Cluster: weight sharing, each layer's weights take few different values (Han et al., 2016).

The values are still stored as float32, or as int8 after quantization: what shrinks is the compressed file.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from sprue.errors import CheckError
from sprue.graph import normalise
from sprue.passes.normal_form import normal_form
from sprue.passes.sparsify import layer_weights

if TYPE_CHECKING:
    from sprue.backend import Samples

Double = NDArray[np.float64]
ROUNDS = 100


@dataclass(frozen=True)
class Cluster:
    """Let every layer's weights hold `count` different values at most, the means of their clusters.

    Before::

        Conv(x, w = [0.50, 0.54, -0.10, -0.08])

    After `Cluster(2)`::

        Conv(x, w = [0.52, 0.52, -0.09, -0.09])

    Zeros stay zero and count as one of the values, so that a sparse model stays as sparse.
    """

    count: int

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The clustered model. Raises CheckError when no layer has weights."""
        made = normalise(model)
        found = list(layer_weights(made))
        if not found:
            raise CheckError("no layer has weights that could share values", remedy="leave out `cluster`")
        for tensor in found:
            values = numpy_helper.to_array(tensor).copy()
            trained = values != 0
            count = self.count if trained.all() else self.count - 1
            values[trained] = shared(values[trained].astype(np.float64), count).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return normal_form(made)


def shared(values: Double, count: int) -> Double:
    """Each value replaced by its cluster's mean: k-means in one dimension, from evenly spread centres."""
    if values.size == 0:
        return values
    ordered = np.sort(values)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = np.linspace(ordered[0], ordered[-1], count)
    for _ in range(ROUNDS):
        edges = np.searchsorted(ordered, (centres[:-1] + centres[1:]) / 2)
        starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [values.size]])
        held = ends > starts
        moved = centres.copy()
        moved[held] = (sums[ends] - sums[starts])[held] / (ends - starts)[held]
        if np.array_equal(moved, centres):
            break
        centres = moved
    nearest: Double = centres[np.searchsorted((centres[:-1] + centres[1:]) / 2, values)]
    return nearest
