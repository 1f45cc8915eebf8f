"""QuantizeLinear and DequantizeLinear that no operator took in."""

from __future__ import annotations

import math

import numpy as np

from ..literals import c_type
from ..nodes import Argument, Call, Graph, Node, Read, Step, Unsupported, Write, integer_limits, usable

STORED = ("int8", "uint8", "int16", "uint16")


def lower_quantize(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    limits = (
        dict(zip(("low", "high"), integer_limits(y.dtype), strict=True)) if y.dtype.name in STORED else None
    )
    if limits is None or x.dtype != np.float32:
        raise Unsupported(
            f"QuantizeLinear from {x.dtype} to {y.dtype} has no C kernel", "quantize to 8 or 16 bits"
        )
    return [_call(node, graph, {"quantize": True, **limits})]


def lower_dequantize(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if x.dtype.name not in (*STORED, "int32") or y.dtype != np.float32:
        raise Unsupported(
            f"DequantizeLinear from {x.dtype} to {y.dtype} has no C kernel", "quantize to 8 bits"
        )
    return [_call(node, graph, {"quantize": False, "low": 0, "high": 0})]


def _call(node: Node, graph: Graph, params: dict[str, object]) -> Call:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    node.ignore("saturate", "output_dtype", "precision", "axis")
    scale = graph.value(node.inputs[1])
    if node.integer("block_size", 0) or len(scale.shape) > 1 or scale.dtype != np.float32:
        raise Unsupported(f"{node.op} in blocks", "quantize per tensor or per channel")
    if node.inputs[1] in graph.constants and not usable(graph.constants[node.inputs[1]]):
        raise Unsupported("a scale of zero or nearly zero", "quantize the model again")
    axis = node.integer("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    each = scale.size > 1
    params |= {
        "source": c_type(x.dtype),
        "type": c_type(y.dtype),
        "outer": math.prod(x.shape[:axis]) if each else 1,
        "channels": scale.size,
        "inner": math.prod(x.shape[axis + 1 :]) if each else x.size,
        "zero": c_type(graph.value(node.inputs[2]).dtype) if node.has(2) else None,
    }
    arguments: list[Argument] = [Read(i) for i in node.inputs if i]
    arguments.append(Write(node.outputs[0]))
    reuse = ((node.outputs[0], node.inputs[0]),) if y.dtype.itemsize <= x.dtype.itemsize else ()
    return Call("quantize.c.j2", params, tuple(arguments), reuse)


OPERATORS = {"QuantizeLinear": lower_quantize, "DequantizeLinear": lower_dequantize}
