"""The border of a QDQ graph as 8-bit integers: the pairs at its inputs and outputs are taken apart.

Not a `Pass`: the graph that comes out takes and gives other types than the model, and the backend that
compiles it has to say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, MutableSequence, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from sprue.border import Border, Edge
from sprue.graph import inputs, outputs, weights

MOVEMENTS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""What only puts elements elsewhere does so with integers as well."""

TINY = float(np.finfo(np.float32).tiny)
"""The smallest scale that can be divided by: processors flush what is subnormal to zero."""

Constants = Mapping[str, NDArray[np.generic]]


def int8_border(model: ModelProto) -> tuple[ModelProto, Border]:
    """The graph with int8 at its border, and what stands there now.

    Before::

        x -> Transpose -> Q -> DQ -> Conv -> Q -> DQ -> y

    After::

        x (int8) -> Transpose -> DQ -> Conv -> Q -> y (int8)

    An input stays as it is unless all that reads it quantizes it to int8 by one scale; so does an output that
    is not dequantized from int8 last.
    """
    made = ModelProto()
    made.CopyFrom(model)
    known = weights(made)
    taken = {s.name: _input(made, s.name, known) or Edge(s.dtype.name) for s in inputs(model)}
    given = {s.name: _output(made, s.name, known) or Edge(s.dtype.name) for s in outputs(model)}
    return made, Border(taken, given)


def _input(model: ModelProto, name: str, known: Constants) -> Edge | None:
    """Make an input int8, if that is all that is done with it."""
    graph = model.graph
    readers = _readers(model)
    results = {o.name for o in graph.output}
    path = [name]
    while len(reading := readers[path[-1]]) == 1 and _moves(reading[0], path[-1]):
        path.append(reading[0].output[0])
    edges = [_edge(n, known) if n.op_type == "QuantizeLinear" else None for n in reading]
    border = next((v for v in graph.input if v.name == name), None)
    if border is None or border.type.tensor_type.elem_type != TensorProto.FLOAT or results & {*path}:
        return None
    if not edges or edges[0] is None or any(e != edges[0] for e in edges):
        return None
    if results & {n.output[0] for n in reading}:
        return None
    for quantize in reading:
        for reader in readers[quantize.output[0]]:
            _rename(reader.input, quantize.output[0], path[-1])
        graph.node.remove(quantize)
    border.type.tensor_type.elem_type = TensorProto.INT8
    _forget(model, path[1:])
    return edges[0]


def _output(model: ModelProto, name: str, known: Constants) -> Edge | None:
    """Make an output int8, if it is dequantized last; who reads it in the graph still gets real numbers."""
    graph = model.graph
    made_by = {o: n for n in graph.node for o in n.output}
    readers = _readers(model)
    path = [name]
    while (last := made_by.get(path[-1])) is not None and _moves(last, last.input[0]):
        if len(readers[last.input[0]]) > 1 or readers[path[-1]]:
            return None
        path.append(last.input[0])
    quantize = made_by.get(last.input[0]) if last is not None and last.op_type == "DequantizeLinear" else None
    border = next(v for v in graph.output if v.name == name)
    if last is None or quantize is None or quantize.op_type != "QuantizeLinear":
        return None
    edge = _edge(quantize, known)
    stored, real = quantize.output[0], last.output[0]
    at_border = {v.name for v in graph.output} - {name}
    if edge is None or edge != _edge(last, known) or at_border & {stored, *path}:
        return None
    if border.type.tensor_type.elem_type != TensorProto.FLOAT:
        return None
    border.type.tensor_type.elem_type = TensorProto.INT8
    _forget(model, path[1:])
    if readers[real] and real == name:
        last.output[0] = f"{real}_real"
        for reader in readers[real]:
            _rename(reader.input, real, last.output[0])
    else:
        graph.node.remove(last)
    for node in graph.node:
        _rename(node.input, stored, real)
    quantize.output[0] = real
    _forget(model, [stored])
    return edge


def _moves(node: NodeProto, name: str) -> bool:
    return node.op_type in MOVEMENTS and node.input[0] == name


def _edge(node: NodeProto, known: Constants) -> Edge | None:
    """What one of a pair says; None where it is not int8 by one known scale."""
    scale, zero = (known.get(n) for n in (*node.input[1:3], "")[:2])
    if scale is None or zero is None or scale.size != 1 or zero.dtype != np.int8 or zero.size != 1:
        return None
    edge = Edge("int8", float(scale.reshape(())), int(zero.reshape(())))
    return edge if TINY <= float(scale.reshape(())) < np.inf else None


def _readers(model: ModelProto) -> Mapping[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            found[name].append(node)
    return found


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new


def _forget(model: ModelProto, names: Sequence[str]) -> None:
    """What is said of tensors whose type is another now."""
    kept = [v for v in model.graph.value_info if v.name not in names]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
