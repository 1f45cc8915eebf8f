"""BitCast: the same bytes under another type of the same size."""

from __future__ import annotations

from ..literals import c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Write


def lower_bit_cast(node: Node, graph: Graph, _effort: object) -> list[Step]:
    node.ignore("to")
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if x.dtype.itemsize != y.dtype.itemsize or y.dtype == bool:
        raise Unsupported(f"BitCast of {x.dtype} to {y.dtype} has no C kernel")
    params = {"source": c_type(x.dtype), "type": c_type(y.dtype), "bytes": x.bytes}
    reuse = ((node.outputs[0], node.inputs[0]),)
    return [Call("bitcast.c.j2", params, (Read(node.inputs[0]), Write(node.outputs[0])), reuse)]


OPERATORS = {"BitCast": lower_bit_cast}
