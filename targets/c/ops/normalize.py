"""Normalizations: BatchNormalization at inference, LayerNormalization, InstanceNormalization."""

from __future__ import annotations

import math

import numpy as np

from ..literals import c_float
from ..nodes import Argument, Call, Flash, Graph, Node, Read, Step, Unsupported, Write


def lower_batch(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """y = x * factor[channel] + offset[channel]; both are constants where the statistics are."""
    x = graph.value(node.inputs[0])
    if node.integer("training_mode", 0) or any(node.outputs[1:]):
        raise Unsupported("BatchNormalization in training mode", "export the model for inference")
    if x.dtype != np.float32:
        raise Unsupported(f"BatchNormalization of {x.dtype} has no C kernel", "cast it to float32")
    if node.integer("spatial", 1) != 1:
        raise Unsupported("BatchNormalization with spatial = 0")
    node.ignore("momentum")
    epsilon = node.real("epsilon", 1e-5)
    channels = x.shape[1] if len(x.shape) > 1 else 1
    params = {
        "batch": x.shape[0],
        "channels": channels,
        "inner": math.prod(x.shape[2:]),
        "epsilon": c_float(epsilon),
    }
    reuse = ((node.outputs[0], node.inputs[0]),)
    if all(i in graph.constants for i in node.inputs[1:]):
        scale, shift, mean, var = (graph.constants[i].astype(np.float64) for i in node.inputs[1:])
        factor = scale / np.sqrt(var + epsilon)
        constants = (
            Flash(factor.astype(np.float32), f"factor_{node.name}"),
            Flash((shift - mean * factor).astype(np.float32), f"offset_{node.name}"),
        )
        arguments = (Read(node.inputs[0]), *constants, Write(node.outputs[0]))
        return [Call("batch_norm.c.j2", {**params, "folded": True}, arguments, reuse)]
    given: tuple[Argument, ...] = (*map(Read, node.inputs), Write(node.outputs[0]))
    return [Call("batch_norm.c.j2", {**params, "folded": False}, given, reuse)]


def lower_layer(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x = graph.value(node.inputs[0])
    if any(node.outputs[1:]):
        raise Unsupported("LayerNormalization whose mean or deviation is used")
    if x.dtype != np.float32:
        raise Unsupported(f"LayerNormalization of {x.dtype} has no C kernel", "cast it to float32")
    node.ignore("stash_type")  # only float32 gets here
    axis = node.integer("axis", -1) % len(x.shape)
    count = math.prod(x.shape[axis:])
    for position in (1, 2):
        if node.has(position) and graph.value(node.inputs[position]).size != count:
            raise Unsupported("LayerNormalization with a broadcast scale or bias")
    return [_rows(node, math.prod(x.shape[:axis]), count, rows=1, each=count)]


def lower_rms(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """x / sqrt(mean(x^2) + epsilon) * scale over the last axes."""
    x = graph.value(node.inputs[0])
    node.ignore("stash_type")
    if x.dtype != np.float32:
        raise Unsupported(f"RMSNormalization of {x.dtype} has no C kernel", "cast it to float32")
    axis = node.integer("axis", -1) % len(x.shape)
    count = math.prod(x.shape[axis:])
    if graph.value(node.inputs[1]).size != count:
        raise Unsupported("RMSNormalization with a broadcast scale")
    call = _rows(node, math.prod(x.shape[:axis]), count, rows=1, each=count)
    return [Call(call.template, {**call.params, "centred": False}, call.arguments, call.reuse)]


def lower_group(node: Node, graph: Graph, _effort: object) -> list[Step]:
    """GroupNormalization with one scale and bias per channel (opset 21)."""
    x = graph.value(node.inputs[0])
    node.ignore("stash_type")
    groups = node.integer("num_groups", 1)
    if x.dtype != np.float32 or graph.value(node.inputs[1]).size != x.shape[1]:
        raise Unsupported(
            "GroupNormalization with a scale per group, or not of float32", "use opset 21, float32"
        )
    plane = math.prod(x.shape[2:])
    each = x.shape[1] // groups
    call = _rows(node, x.shape[0] * groups, each * plane, rows=groups, each=1)
    params = {**call.params, "at": f"row % {groups} * {each} + i / {plane}"}
    return [Call(call.template, params, call.arguments, call.reuse)]


def lower_instance(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x = graph.value(node.inputs[0])
    if x.dtype != np.float32:
        raise Unsupported(f"InstanceNormalization of {x.dtype} has no C kernel", "cast it to float32")
    return [_rows(node, x.shape[0] * x.shape[1], math.prod(x.shape[2:]), rows=x.shape[1], each=1)]


def _rows(node: Node, outer: int, count: int, *, rows: int, each: int) -> Call:
    """Rows of `count` elements to mean 0 and deviation 1, then times scale plus bias.

    Their index is the row modulo `rows` where they hold one element per row (`each` = 1), else the element.
    """
    arguments: list[Argument] = [Read(node.inputs[0]), Read(node.inputs[1])]
    if node.has(2):
        arguments.append(Read(node.inputs[2]))
    params = {
        "centred": True,
        "outer": outer, "count": count, "bias": node.has(2),
        "epsilon": c_float(node.real("epsilon", 1e-5)), "at": "i" if each == count else f"row % {rows}",
    }  # fmt: skip
    arguments.append(Write(node.outputs[0]))
    return Call("row_norm.c.j2", params, tuple(arguments), ((node.outputs[0], node.inputs[0]),))


OPERATORS = {
    "BatchNormalization": lower_batch,
    "LayerNormalization": lower_layer,
    "InstanceNormalization": lower_instance,
    "RMSNormalization": lower_rms,
    "GroupNormalization": lower_group,
}
