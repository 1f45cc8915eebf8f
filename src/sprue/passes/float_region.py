"""Which nodes stay in float with a layer: those that no integer kernel lies between.

Rounding the input of a pooling or an addition gains nothing where its neighbours compute in float, and costs
exactness.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, NodeProto

from sprue.graph import weights
from sprue.passes.masks import WEIGHTED


def float_region(model: ModelProto, names: Collection[str]) -> list[str]:
    """The nodes called `names`, and all that are connected to them through nodes without weights."""
    beside: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for tensor in (*node.input, *node.output):
            beside.setdefault(tensor, []).append(node)
    held = weights(model)
    layers = {n.name for n in model.graph.node if n.op_type in WEIGHTED or _looks_up(n, held)}
    found = {n.name: n for n in model.graph.node if n.name in names}
    waiting = list(found.values())
    while waiting:
        node = waiting.pop()
        for tensor in (*node.input, *node.output):
            for other in beside[tensor] if tensor and tensor not in held else ():
                if other.name not in found and other.name not in layers:
                    found[other.name] = other
                    waiting.append(other)
    return list(found)


def _looks_up(node: NodeProto, held: Collection[str]) -> bool:
    """Whether it is an embedding, whose table int8 makes smaller."""
    return node.op_type == "Gather" and node.input[0] in held
