"""Operators that only rename or reshape: the result is the same memory, no code."""

from __future__ import annotations

from ..nodes import Alias, Graph, Node, Step, Unsupported
from ..tables import requantized_table, table_call


def lower_alias(node: Node, graph: Graph, _effort: object) -> list[Step]:
    node.ignore("axis", "axes", "allowzero", "shape")  # the shape is known already
    if node.result is not None and not node.quants[0].same(node.result):
        table = requantized_table(node.quants[0], node.result)
        return [table_call(graph, node.inputs[0], node.outputs[0], table)]
    return [Alias(node.outputs[0], node.inputs[0])]


def lower_dropout(node: Node, graph: Graph, effort: object) -> list[Step]:
    """Dropout does nothing at inference; its mask is not computed."""
    node.ignore("ratio", "seed")
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Unsupported("Dropout whose mask is used", "export the model for inference")
    if node.has(2) and bool(graph.constant(node, 2, "training mode").any()):
        raise Unsupported("Dropout in training mode", "export the model for inference")
    return lower_alias(node, graph, effort)


def accepts(node: Node, graph: Graph) -> bool:
    quants = [*node.quants.values(), *([node.result] if node.result else [])]
    tensors = all(q.per_tensor and q.dtype.itemsize == 1 for q in quants)
    return 0 in node.quants and node.result is not None and tensors


_SAME = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
INTEGER = dict.fromkeys((*_SAME, "Dropout"), accepts)
OPERATORS = {**dict.fromkeys(_SAME, lower_alias), "Dropout": lower_dropout}
