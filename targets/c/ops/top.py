"""TopK: the k largest or smallest of each row, in order; of equal ones the first."""

from __future__ import annotations

import math

import numpy as np

from ..literals import c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Value, Write


def lower_top_k(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x = graph.value(node.inputs[0])
    axis = node.integer("axis", -1) % max(len(x.shape), 1)
    node.ignore("k", "sorted")  # k is in the result's shape; sorted is a right order, too
    if node.has(1):
        graph.constant(node, 1, "k")
    if not x.shape or x.dtype == np.bool_:
        raise Unsupported(f"TopK of {x.dtype}{list(x.shape)} has no C kernel")
    indices = node.outputs[1] if len(node.outputs) > 1 else ""
    values = node.outputs[0]
    shape = graph.value(values or indices).shape
    if shape[axis] > x.shape[axis]:
        raise Unsupported(f"TopK of {shape[axis]} among {x.shape[axis]}")
    params = {
        "type": c_type(x.dtype),
        "outer": math.prod(x.shape[:axis]),
        "count": x.shape[axis],
        "inner": math.prod(x.shape[axis + 1 :]),
        "k": shape[axis],
        "before": ">" if node.integer("largest", 1) else "<",
    }
    made = [
        Write(name or f"{node.name}/unused{i}", None if name else Value(dtype, shape))
        for i, (name, dtype) in enumerate(((values, x.dtype), (indices, np.dtype(np.int64))))
    ]
    return [Call("top_k.c.j2", params, (Read(node.inputs[0]), *made))]


OPERATORS = {"TopK": lower_top_k}
