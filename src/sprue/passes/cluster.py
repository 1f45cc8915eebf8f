"""Cluster: weight sharing, each layer's weights take few different values (Han et al., 2016).

The values are still stored as float32, or as int8 after quantization: what shrinks is the compressed file.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sprue.errors import CheckError
from sprue.passes.layer_weights import Weights, with_layer_weights

if TYPE_CHECKING:
    from onnx import ModelProto

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
        made = with_layer_weights(model, self._clustered)
        if made is None:
            raise CheckError("no layer has weights that could share values", remedy="leave out `cluster`")
        return made

    def _clustered(self, weights: Weights) -> Weights:
        values = weights.copy()
        trained = values != 0
        count = self.count if trained.all() else self.count - 1
        values[trained] = shared(values[trained].astype(np.float64), count).astype(np.float32)
        return values


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
