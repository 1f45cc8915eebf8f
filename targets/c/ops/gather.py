"""Gather: rows of a table by index, such as an embedding.

An index outside the table reads the nearest row: on a device there is nobody to raise an error to.
"""

from __future__ import annotations

import math

from ..indices import refuse_outside
from ..literals import c_float, c_type
from ..nodes import Argument, Call, Flash, Graph, Node, Read, Step, Unsupported, Write


def lower_gather(node: Node, graph: Graph, _effort: object) -> list[Step]:
    data, indices = graph.value(node.inputs[0]), graph.value(node.inputs[1])
    y = graph.value(node.outputs[0])
    axis = node.integer("axis", 0) % max(len(data.shape), 1)
    quant = node.quants.get(0)
    if indices.dtype.name not in ("int32", "int64"):
        raise Unsupported(f"Gather with {indices.dtype} indices", "use int32 or int64")
    refuse_outside(graph, node, 1, data.shape[axis : axis + 1])
    floats = quant is not None and node.result is None
    params = {
        "outer": math.prod(data.shape[:axis]),
        "rows": data.shape[axis],
        "inner": math.prod(data.shape[axis + 1 :]),
        "count": indices.size,
        "source": c_type(data.dtype),
        "type": c_type(y.dtype),
        "index": c_type(indices.dtype),
        "zero": int(quant.zero.reshape(-1)[0]) if floats and quant else 0,
        "scaled": floats and quant is not None and not quant.per_tensor,
        "scale": c_float(float(quant.scale)) if floats and quant and quant.per_tensor else None,
    }
    scales: tuple[Flash, ...] = ()
    if params["scaled"] and quant is not None:
        scales = (Flash(quant.scale, f"scale_{node.name}"),)
    arguments: tuple[Argument, ...] = (
        Read(node.inputs[0]),
        *scales,
        Read(node.inputs[1]),
        Write(node.outputs[0]),
    )
    return [Call("gather.c.j2", params, arguments)]


def accepts(node: Node, graph: Graph) -> bool:
    """An 8-bit table, dequantized as it is read, or passed on as it is where the result has its scale."""
    quant = node.quants.get(0)
    if quant is None or set(node.quants) != {0} or quant.dtype.itemsize != 1:
        return False
    if node.result is not None:
        return quant.per_tensor and quant.same(node.result)
    by_row = quant.axis == 0 and node.integer("axis", 0) == 0 and not quant.zero.any()
    return quant.per_tensor or by_row


INTEGER = {"Gather": accepts}
OPERATORS = {"Gather": lower_gather}
