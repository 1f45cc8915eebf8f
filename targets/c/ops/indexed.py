"""GatherElements, GatherND and what writes instead of reading: ScatterElements (Scatter), ScatterND.

An index outside the tensor means the nearest row: on a device there is nobody to raise an error to.
"""

from __future__ import annotations

import math

import numpy as np

from ..indices import refuse_outside
from ..kernels.nest import Loop, contiguous, index
from ..literals import c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Value, Write

COMBINE = {
    "none": "b",
    "add": "a + b",
    "mul": "a * b",
    "max": "a > b ? a : b",
    "min": "a < b ? a : b",
}
INTEGER_COMBINE = {**COMBINE, "add": "({u})a + ({u})b", "mul": "({u})a * ({u})b"}


def lower_elements(node: Node, graph: Graph, _effort: object) -> list[Step]:
    data, indices = _operands(node, graph)
    if len(data.shape) != len(indices.shape):
        raise Unsupported(f"{node.op} with indices of another rank", "export the model again")
    axis = node.integer("axis", 0) % max(len(data.shape), 1)
    refuse_outside(graph, node, 1, data.shape[axis : axis + 1])
    strides = contiguous(data.shape)
    walked = [0 if a == axis else s for a, s in enumerate(strides)]
    # every axis keeps its loop: the result is written in the order of the indices
    nest = [Loop(n, (s,)) for n, s in zip(indices.shape, walked, strict=True)] or [Loop(1, (0,))]
    params = {
        **_shared(node, data, indices),
        "rows": data.shape[axis],
        "stride": strides[axis],
        "nest": nest,
        "at": index(nest, 0),
    }
    return [Call("element.c.j2", params, _arguments(node))]


def lower_slices(node: Node, graph: Graph, _effort: object) -> list[Step]:
    data, indices = _operands(node, graph)
    batch = node.integer("batch_dims", 0) if node.op == "GatherND" else 0
    width = indices.shape[-1]
    strides = contiguous(data.shape)
    named = range(batch, batch + width)
    refuse_outside(graph, node, 1, data.shape[batch : batch + width])
    params = {
        **_shared(node, data, indices),
        "batches": math.prod(data.shape[:batch]),
        "plane": math.prod(data.shape[batch:]),
        "count": math.prod(indices.shape[batch:-1]),
        "axes": [{"rows": data.shape[a], "stride": strides[a]} for a in named],
        "block": math.prod(data.shape[batch + width :]),
    }
    return [Call("slices.c.j2", params, _arguments(node))]


def _operands(node: Node, graph: Graph) -> tuple[Value, Value]:
    data, indices = graph.value(node.inputs[0]), graph.value(node.inputs[1])
    if node.quantized:
        raise Unsupported(f"a quantized {node.op} has no C kernel", "keep it in float")
    if indices.dtype.name not in ("int32", "int64"):
        raise Unsupported(f"{node.op} with {indices.dtype} indices", "use int32 or int64")
    if not data.shape or not indices.shape or not data.size:
        raise Unsupported(f"{node.op} of a tensor without elements or axes")
    return data, indices


def _shared(node: Node, data: Value, indices: Value) -> dict[str, object]:
    scatter = node.op.startswith("Scatter")
    return {
        "type": c_type(data.dtype),
        "index": c_type(indices.dtype),
        "scatter": scatter,
        "total": data.size,
        "combine": _combine(node, data.dtype) if scatter else "",
    }


def _combine(node: Node, dtype: np.dtype[np.generic]) -> str:
    reduction = node.text("reduction", "none")
    known = COMBINE if dtype.kind == "f" else INTEGER_COMBINE
    if reduction not in known or (dtype == np.bool_ and reduction != "none"):
        raise Unsupported(f"{node.op} with reduction '{reduction}' of {dtype} has no C kernel")
    return known[reduction].format(u=f"uint{max(32, dtype.itemsize * 8)}_t")


def _arguments(node: Node) -> tuple[Read | Write, ...]:
    return (*(Read(name) for name in node.inputs), Write(node.outputs[0]))


OPERATORS = {
    "GatherElements": lower_elements,
    "Scatter": lower_elements,
    "ScatterElements": lower_elements,
    "GatherND": lower_slices,
    "ScatterND": lower_slices,
}
