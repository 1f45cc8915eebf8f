"""Graphs out of graphs: the same network with more to see, and pieces of it.

A piece's inputs and outputs get an axis in front that counts samples, whatever their own first axis is: a
sprue model has one, and the tensors inside a network need not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from sprue.errors import SprueError
from sprue.passes.normal_form import infer_shapes, subgraphs

Array = NDArray[np.generic]
ALL = 1 << 30
"""Levels that no network has: back to its inputs."""
LIMITING = ("Relu", "Clip")
"""What quantizers move into the node before, by limiting its range: in between there is nothing to see."""


def tensors(model: ModelProto) -> list[str]:
    """What the graph's nodes make, in order, of known dtype and rank: what can be made an output."""
    typed = infer_shapes(model).graph
    values = {v.name: v.type.tensor_type for v in (*typed.value_info, *typed.output)}
    known = {n for n, t in values.items() if t.elem_type and t.HasField("shape")}
    return [name for node in typed.node for name in node.output if name in known]


def compared(model: ModelProto) -> list[str]:
    """Those of `tensors` that are held against the reference: computed, with an axis to count along.

    Integers are indices and shapes. What only a limiting activation reads is left out, too.
    """
    typed = infer_shapes(model).graph
    values = {v.name: v for v in (*typed.value_info, *typed.output)}
    readers: dict[str, set[str]] = {v.name: {"output"} for v in typed.output}
    for node in typed.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    seen = [n for n in tensors(model) if _is_float(values[n])]
    return [n for n in seen if not readers.get(n) or readers[n] - set(LIMITING)]


def exposed(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """The whole network; its outputs are those that it has, and `names` after them."""
    typed = infer_shapes(model)
    values = {v.name: v for v in typed.graph.value_info}
    made = ModelProto()
    made.CopyFrom(typed)
    there = {v.name for v in made.graph.output}
    made.graph.output.extend(values[n] for n in names if n not in there)
    return made


def before(model: ModelProto, name: str, levels: int, known: Collection[str]) -> tuple[str, ...]:
    """What a piece takes that ends in `name` and goes back that many nodes, all of it among `known`.

    Where a tensor is not known the piece goes back further; what a constant alone makes is part of it.
    """
    makers = {output: node for node in model.graph.node for output in node.output if output}
    constants = {t.name for t in model.graph.initializer}

    def sources(tensor: str) -> list[str]:
        """The known tensors that a tensor is made from, at least one node back."""
        found: list[str] = []
        for i in makers[tensor].input:
            if i and i not in constants:
                found += [i] if i in known or i not in makers else sources(i)
        return found

    edge = [name]
    for _ in range(levels):
        wider = dict.fromkeys(s for t in edge for s in (sources(t) if t in makers else [t]))
        if list(wider) == edge:
            break
        edge = list(wider)
    return tuple(edge)


def between(model: ModelProto, takes: Collection[str], gives: str) -> tuple[str, ...]:
    """The names of the nodes that compute `gives` from `takes`, in order."""
    taken = _reaching(model, [gives], stop=takes)
    return tuple(n.name for n in model.graph.node if _computes(n, taken, takes))


def piece(model: ModelProto, inputs: Mapping[str, Array], output: str, result: Array) -> ModelProto:
    """What computes `output` from `inputs`; the arrays [samples, ...] give the shapes of one sample.

    Raises SprueError for a network with graphs inside its nodes (If, Loop, Scan): it cannot be cut.
    """
    if inner := next((n for n in model.graph.node if subgraphs(n)), None):
        raise SprueError(f"node '{inner.name}' ({inner.op_type}) holds a graph of its own: it cannot be cut")
    taken = _reaching(model, [output], stop=inputs)
    known = {t.name for t in model.graph.initializer}
    nodes: list[NodeProto] = []
    constants = [t for t in model.graph.initializer if t.name in taken]
    inside = {name: f"{name}_inside" for name in (*inputs, output)}
    while (clash := known & set(inside.values())) != set():
        inside = {k: f"{v}_" if v in clash else v for k, v in inside.items()}
    for name, array in inputs.items():
        constants.append(_shape(f"{name}_shape", array.shape[1:]))
        nodes.append(helper.make_node("Reshape", [name, f"{name}_shape"], [inside[name]], f"{name}_reshape"))
    for node in model.graph.node:
        if _computes(node, taken, inputs):
            copy = NodeProto.FromString(node.SerializeToString())
            copy.input[:] = [inside.get(i, i) for i in node.input]
            copy.output[:] = [inside[o] if o == output else o for o in node.output]
            nodes.append(copy)
    constants.append(_shape(f"{output}_shape", (1, *result.shape[1:])))
    shape = f"{output}_shape"
    nodes.append(helper.make_node("Reshape", [inside[output], shape], [output], f"{output}_reshape"))
    edge = [_value(n, a) for n, a in inputs.items()], [_value(output, result)]
    graph = helper.make_graph(nodes, "piece", *edge, constants)
    made = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    made.functions.extend(model.functions)
    return infer_shapes(made)


def _reaching(model: ModelProto, names: Collection[str], stop: Collection[str]) -> set[str]:
    """The tensors that `names` are computed from, themselves among them; not past those in `stop`."""
    makers = {output: node for node in model.graph.node for output in node.output if output}
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        tensor = waiting.pop()
        if tensor in found:
            continue
        found.add(tensor)
        if tensor not in stop and tensor in makers:
            waiting.extend(i for i in makers[tensor].input if i)
    return found


def _computes(node: NodeProto, taken: Collection[str], stop: Collection[str]) -> bool:
    return any(o in taken for o in node.output) and not any(o in stop for o in node.output)


def _is_float(value: ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).kind if tensor.elem_type else ""
    return kind == "f" and tensor.HasField("shape") and len(tensor.shape.dim) > 0


def _shape(name: str, dims: Sequence[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(dims, np.int64), name)


def _value(name: str, array: Array) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, [1, *array.shape[1:]])
