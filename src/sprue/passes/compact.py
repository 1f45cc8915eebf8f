"""Quantized models without the bytes that no runtime reads: half of a small network's file.

What the quantizer writes beside weights and operators: names of up to a hundred letters, the shapes of all
tensors, a zero for each channel of each bias, and the same zeros and scales again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from sprue.passes.normal_form import nodes, subgraphs

PAIRS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def compact(model: ModelProto) -> ModelProto:
    """A copy that computes the same, bit by bit, in fewer bytes.

    Shapes are gone: they can be inferred. Biases have no zero points: 0 is what is meant without one
    (onnxruntime fuses weights only if they have theirs). Equal scales and zero points are one. What the
    quantizer named has short names; tensors and operators of the float network keep theirs.
    """
    made = ModelProto()
    made.CopyFrom(model)
    made.graph.ClearField("value_info")
    pairs = [n for n in made.graph.node if n.op_type in PAIRS]
    for node in pairs:
        if node.op_type == "DequantizeLinear" and _zeros_of_a_bias(node, made):
            del node.input[2:]
    inside = {i for n in made.graph.node for g in subgraphs(n) for inner in nodes(g) for i in inner.input}
    inside |= {v.name for n in nodes(made.graph) for g in subgraphs(n) for v in g.output}
    border = inside | {v.name for v in (*made.graph.input, *made.graph.output)}
    _share(made, pairs, border)
    _rename(made, pairs, border)
    return made


def _zeros_of_a_bias(node: NodeProto, model: ModelProto) -> bool:
    zero = next((t for t in model.graph.initializer if t.name in node.input[2:3]), None)
    return zero is not None and zero.data_type == TensorProto.INT32 and not numpy_helper.to_array(zero).any()


def _share(model: ModelProto, pairs: list[NodeProto], border: set[str]) -> None:
    """One initializer for all equal scales, and one for all equal zero points; drop what nothing reads."""
    held = {t.name: t for t in model.graph.initializer}
    first: dict[object, str] = {}
    for node in pairs:
        for slot, name in enumerate(node.input[1:], 1):
            if name in held:
                array = np.asarray(numpy_helper.to_array(held[name]))
                node.input[slot] = first.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
    read = border | {name for node in model.graph.node for name in node.input}
    kept = [TensorProto.FromString(t.SerializeToString()) for t in held.values() if t.name in read]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(kept)


def _rename(model: ModelProto, pairs: list[NodeProto], border: set[str]) -> None:
    """Number what the pairs make, and the initializers that nothing but pairs reads."""
    others = {name for node in model.graph.node if node.op_type not in PAIRS for name in node.input}
    own = [t for t in model.graph.initializer if t.name not in others | border]
    made = [name for node in pairs for name in node.output if name not in border]
    wanted = [*(t.name for t in own), *made]
    short = dict(zip(wanted, _unused(model, border, set(wanted)), strict=False))
    for tensor in own:
        tensor.name = short[tensor.name]
    for node in model.graph.node:
        for names in (node.input, node.output):
            for slot, name in enumerate(names):
                names[slot] = short.get(name, name)
    for node in pairs:
        node.name = node.output[0]


def _unused(model: ModelProto, border: set[str], given_up: set[str]) -> Iterator[str]:
    """Names that are free once those of `given_up` are."""
    tensors = {name for node in model.graph.node for name in (*node.input, *node.output)} - given_up
    taken = border | tensors | {node.name for node in model.graph.node if node.op_type not in PAIRS}
    for number in count():
        if f"q{number}" not in taken:
            yield f"q{number}"
