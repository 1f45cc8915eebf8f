"""Softmax and LogSoftmax over one axis, the largest element subtracted first."""

from __future__ import annotations

import math

import numpy as np

from ..literals import c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Write


def lower_softmax(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x = graph.value(node.inputs[0])
    if x.dtype.name not in ("float32", "float64"):
        raise Unsupported(f"{node.op} of {x.dtype} has no C kernel", "cast it to float32")
    rank = len(x.shape)
    if graph.opset < 13:  # everything from the axis on is one row
        axis = node.integer("axis", 1) % max(rank, 1)
        outer, count, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis:]), 1
    else:
        axis = node.integer("axis", -1) % max(rank, 1)
        outer, count, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    params: dict[str, object] = {
        "outer": outer,
        "count": count,
        "inner": inner,
        "log": node.op == "LogSoftmax",
        "apart": graph.lanes > 1,
    }
    params |= {"type": c_type(x.dtype), "suffix": "f" if x.dtype == np.float32 else ""}
    arguments = (Read(node.inputs[0]), Write(node.outputs[0]))
    return [Call("softmax.c.j2", params, arguments, ((node.outputs[0], node.inputs[0]),))]


OPERATORS = {"Softmax": lower_softmax, "LogSoftmax": lower_softmax}
