"""Trilu: what lies on one side of a diagonal stays, the rest is zero."""

from __future__ import annotations

import math

from ..literals import c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Write


def lower_trilu(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x = graph.value(node.inputs[0])
    if len(x.shape) < 2:
        raise Unsupported("Trilu of a tensor with fewer than 2 axes")
    shift = int(graph.constant(node, 1, "diagonal").ravel().tolist()[0]) if node.has(1) else 0
    size = max(x.shape[-2:])
    params = {
        "type": c_type(x.dtype),
        "matrices": math.prod(x.shape[:-2]),
        "rows": x.shape[-2],
        "columns": x.shape[-1],
        "upper": node.integer("upper", 1),
        "shift": max(-size - 1, min(shift, size + 1)),
    }
    reuse = ((node.outputs[0], node.inputs[0]),)
    return [Call("triangle.c.j2", params, (Read(node.inputs[0]), Write(node.outputs[0])), reuse)]


OPERATORS = {"Trilu": lower_trilu}
