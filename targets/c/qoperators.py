"""QLinearConv and QLinearMatMul: ONNX's other way to write what QDQ pairs around an operator say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .nodes import Graph, Node, Quant, usable

X, W, Y, BIAS = 0, 3, 6, 8
"""Positions of the tensors; each but the bias is followed by scale and zero point (for Y: only those two)."""
PLAIN = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul"}


def as_plain_operator(node: Node, graph: Graph) -> Node | None:
    """The node as Conv or MatMul with quantizations; None when a scale or zero point is no constant."""
    plain = PLAIN.get(node.op)
    if plain is None or any(i not in graph.constants for i in (*node.inputs[1:3], *node.inputs[4:8])):
        return None
    scales = [graph.constants[node.inputs[p]] for p in (X + 1, W + 1, Y)]
    if not all(usable(s) for s in scales):
        return None
    axis = 0 if plain == "Conv" else 1
    x, w = _quant(node, graph, X, 0), _quant(node, graph, W, axis)
    scale, zero = node.inputs[Y], node.inputs[Y + 1]
    y = _from(graph, scale, zero, graph.value(node.outputs[0]).dtype, 0)
    inputs = [node.inputs[X], node.inputs[W]]
    quants: dict[int, Quant] = {0: x, 1: w}
    if plain == "Conv" and node.has(BIAS):
        inputs.append(node.inputs[BIAS])
        product = (x.scale * w.scale).astype(np.float32)
        quants[2] = Quant(product, np.zeros(product.shape, np.int32), np.dtype(np.int32))
    return replace(node, op=plain, inputs=tuple(inputs), quants=quants, result=y)


def with_plain_operators(graph: Graph, accepted: Mapping[str, object]) -> Graph:
    """QLinear operators as the plain ones, where these have an integer kernel for them."""
    nodes = []
    for node in graph.nodes:
        plain = as_plain_operator(node, graph)
        accepts = accepted.get(plain.op) if plain is not None else None
        nodes.append(plain if plain is not None and callable(accepts) and accepts(plain, graph) else node)
    return replace(graph, nodes=tuple(nodes))


def _quant(node: Node, graph: Graph, position: int, axis: int) -> Quant:
    dtype = graph.value(node.inputs[position]).dtype
    return _from(graph, node.inputs[position + 1], node.inputs[position + 2], dtype, axis)


def _from(graph: Graph, scale: str, zero: str, dtype: np.dtype[np.generic], axis: int) -> Quant:
    step = graph.constants[scale].astype(np.float32)
    offset = graph.constants[zero].astype(np.int32)
    if step.size == 1 and offset.size == 1:
        return Quant(step.reshape(()), offset.reshape(()), dtype)
    count = max(step.size, offset.size)
    wide = np.broadcast_to(step.ravel(), (count,)), np.broadcast_to(offset.ravel(), (count,))
    return Quant(np.ascontiguousarray(wide[0]), np.ascontiguousarray(wide[1]), dtype, axis)
