"""CumSum and CumProd along one axis; in place, as each element is read before it is written."""

from __future__ import annotations

import math

from ..literals import c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Write


def lower_cumulative(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x = graph.value(node.inputs[0])
    if x.dtype.name not in ("float32", "float64", "int32", "int64", "uint32", "uint64"):
        raise Unsupported(f"{node.op} of {x.dtype} has no C kernel", "cast it to float32 or int32")
    axis = int(graph.constant(node, 1, "axis").ravel().tolist()[0]) % max(len(x.shape), 1)
    sign = "+" if node.op == "CumSum" else "*"
    wide = "" if x.dtype.kind == "f" else f"(uint{x.dtype.itemsize * 8}_t)"
    params = {
        "type": c_type(x.dtype),
        "outer": math.prod(x.shape[:axis]),
        "count": x.shape[axis] if x.shape else 1,
        "inner": math.prod(x.shape[axis + 1 :]),
        "start": 0 if node.op == "CumSum" else 1,
        "combine": f"{wide}so_far {sign} {wide}here",
        "exclusive": node.integer("exclusive", 0),
        "reverse": node.integer("reverse", 0),
    }
    reuse = ((node.outputs[0], node.inputs[0]),)
    return [Call("cumulative.c.j2", params, (Read(node.inputs[0]), Write(node.outputs[0])), reuse)]


OPERATORS = {"CumSum": lower_cumulative, "CumProd": lower_cumulative}
