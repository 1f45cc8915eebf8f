"""How much work one inference is, from the network alone: multiply-adds, weights, and the numbers that are
moved.

Multiply-adds and parameters are onnx-tool's: a multiply-add of a convolution, product or recurrent layer
counts 1, and so does an addition of a bias; an exponential counts more. Nodes that only rename their input
move nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto

RENAMING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
LOOK_UPS = ("Gather",)
"""They read of a table only what they give out."""


@dataclass(frozen=True)
class Work:
    """Of one sample. `parameters`: numbers in the weights. `weights`, `activations`: numbers that are read,
    and read or written, as floats in the source model; `other_bytes`: bytes of integers that are read or
    written.

    None where the shapes are not known; `unknown` says why.
    """

    macs: int | None = None
    parameters: int | None = None
    weights: int | None = None
    activations: int | None = None
    other_bytes: int | None = None
    unknown: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def work(model: ModelProto) -> Work:
    """Counted by onnx-tool. A network that it cannot walk has no figures."""
    import numpy as np
    import onnx_tool

    from sprue.graph import inputs

    given = inputs(model)
    if free := [s.name for s in given if None in s.shape[1:]]:
        return Work(unknown=f"input '{free[0]}' has free axes besides the batch")
    zeros = {s.name: np.zeros([d or 1 for d in s.shape], s.dtype) for s in given}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = onnx_tool.Model(model, {"verbose": False}).graph
            graph.shape_infer(zeros)
            graph.profile()
            return Work(int(graph.macs[0]), int(graph.params), *_moved(graph, zeros))
    except (Exception, SystemExit) as error:  # it raises what it likes, and may call exit()
        return Work(unknown=f"onnx-tool: {type(error).__name__}: {str(error)[:200]}")


def _moved(graph: Any, given: Mapping[str, Any]) -> tuple[int, int, int]:
    weights = activations = other = 0
    constant = set(graph.initials)
    for node in graph.nodemap.values():
        if node.op_type in RENAMING or node.op_type == "Constant":
            continue
        written = sum(_size(graph, name)[0] for name in node.output if name)
        for name in (*node.input, *node.output):
            if not name:
                continue
            count, kind = _size(graph, name)
            if name in constant and node.op_type in LOOK_UPS:
                count = min(count, written)
            if kind != "f":
                other += count * _width(graph, name)
            elif name in constant:
                weights += count
            else:
                activations += count
    return weights, activations, other


def _size(graph: Any, name: str) -> tuple[int, str]:
    """How many numbers, and NumPy's letter for their kind."""
    import numpy as np

    tensor = graph.tensormap[name]
    return prod(int(d) for d in tensor.get_shape()), np.dtype(tensor.dtype).kind


def _width(graph: Any, name: str) -> int:
    import numpy as np

    return int(np.dtype(graph.tensormap[name].dtype).itemsize)
