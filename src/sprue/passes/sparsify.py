"""Sparsify: magnitude pruning, the smallest weights become zero (Han et al., "Deep Compression", 2016).

Tensors keep their shape, so on runtimes with dense kernels, which is all of ours, it makes nothing faster and
no file smaller before it is compressed. The build says so with figures, and refuses what gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sprue.errors import CheckError
from sprue.passes.layer_weights import Weights, with_layer_weights

if TYPE_CHECKING:
    from onnx import ModelProto

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
        made = with_layer_weights(model, self._sparse)
        if made is None:
            raise CheckError("no layer has weights that could become zero", remedy="leave out `sparsity`")
        return made

    def _sparse(self, weights: Weights) -> Weights:
        values = weights.copy()
        order = np.argsort(np.abs(values), axis=None, kind="stable")
        values.reshape(-1)[order[: int(self.share * values.size)]] = 0
        return values
