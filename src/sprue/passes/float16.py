"""Float16: every float32 tensor inside the graph becomes float16, with types that stand in the graph.

Strongly typed runtimes (TensorRT 11) compute in the types that the ONNX states, so they must be right for
each node. Which input of which operator may be float16 is read from ONNX's own schemas, not from a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.errors import SprueError
from sprue.graph import normalise, opset
from sprue.passes.normal_form import foreign_nodes, infer_shapes, normal_form, subgraphs

if TYPE_CHECKING:
    from sprue.backend import Samples

LARGEST = 65504.0
"""The largest finite float16 (IEEE 754 binary16)."""
SMALLEST = 2.0**-24
"""The smallest positive float16, a subnormal."""


@dataclass(frozen=True)
class Float16:
    """Compute in float16; with `keep_border` the inputs and outputs stay float32.

    Before::

        x float32 -> Conv(w float32) -> Resize(scales float32) -> y float32

    After::

        x float32 -> Cast -> Conv(w float16) -> Resize(scales float32) -> Cast -> y float32

    Where an operator's schema has no float16 (Resize's scales, QuantizeLinear before opset 19) float32 stays
    between Casts. Weights beyond 65504 become 65504 ("clamp": right for the -3e38 of an attention mask) or
    are an error ("refuse"); `overflowing_weights` lists them. A weight that float16 would round to zero
    becomes the smallest float16 instead: it may be the epsilon that keeps a division finite.
    """

    keep_border: bool = True
    overflow: Literal["clamp", "refuse"] = "clamp"

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The float16 model. Raises SprueError for operators outside ONNX, and for overflow if refused."""
        too_large = overflowing_weights(model) if self.overflow == "refuse" else []
        if too_large:
            raise SprueError(
                f"the weights {', '.join(repr(n) for n in too_large[:3])} exceed float16's {LARGEST:.0f}",
                remedy="keep float32 for this model, or scale those weights down and train again",
            )
        if foreign_nodes(model):
            node = foreign_nodes(model)[0]
            raise SprueError(
                f"the node '{node.name}' ({node.domain}.{node.op_type}) has no ONNX schema to convert by",
                remedy="export the model with standard ONNX operators only",
            )
        made = normalise(model)
        if made.functions:
            made = onnx.inliner.inline_local_functions(made)
        made = infer_shapes(made)
        _constants_to_initializers(made.graph)
        _Conversion(made).run(self.keep_border)
        return normal_form(made)


def overflowing_weights(model: ModelProto) -> list[str]:
    """Names of float32 initializers with finite values beyond float16's range."""
    found = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            if (np.isfinite(array) & (np.abs(array) > LARGEST)).any():
                found.append(tensor.name)
    return found


def to_float16(array: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to nearest; clamp finite values to +-65504; keep what is not zero from becoming zero."""
    finite = np.where(np.isfinite(array), np.clip(array, -LARGEST, LARGEST), array)
    made = finite.astype(np.float16)
    lost = (made == 0) & (array != 0)
    made[lost] = np.copysign(SMALLEST, array[lost]).astype(np.float16)
    return made


class _Conversion:
    """One model on its way from float32 to float16, changed in place."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.opset = {o.domain: o.version for o in model.opset_import} | {"": opset(model)}
        self.floats = set(_float_tensors(model.graph))
        self.taken = set(_names(model.graph))

    def run(self, keep_border: bool) -> None:
        self._convert(self.graph)
        if not keep_border:
            _retype(self.graph)
            return
        fed = {v.name for v in self.graph.input}
        casts = []
        for value in self.graph.input:
            if value.name in self.floats:
                inside = self._new(value.name, "_float16")
                _rename_reads(self.graph, value.name, inside)
                casts.append(_cast(value.name, inside, TensorProto.FLOAT16))
        for value in self.graph.output:
            if value.name in self.floats and value.name not in fed:
                inside = self._new(value.name, "_float16")
                _rename_reads(self.graph, value.name, inside)
                _rename_writes(self.graph, value.name, inside)
                self.graph.node.append(_cast(inside, value.name, TensorProto.FLOAT))
        _set_nodes(self.graph, [*casts, *self.graph.node])

    def _convert(self, graph: GraphProto) -> None:
        originals = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
        kept: dict[str, str] = {}  # float16 tensor -> its float32 twin, in this graph
        done: list[NodeProto] = []
        for node in graph.node:
            for inner in subgraphs(node):
                self._convert(inner)
                _retype(inner)
            done += self._convert_node(node, originals, kept, graph)
        _set_nodes(graph, done)
        for name, tensor in originals.items():
            tensor.CopyFrom(numpy_helper.from_array(to_float16(numpy_helper.to_array(tensor)), name))

    def _convert_node(
        self, node: NodeProto, originals: dict[str, TensorProto], kept: dict[str, str], graph: GraphProto
    ) -> list[NodeProto]:
        """The node with its neighbouring Casts."""
        schema = onnx.defs.get_schema(node.op_type, self.opset[node.domain], node.domain)
        before: list[NodeProto] = []
        after: list[NodeProto] = []
        for index, name in enumerate(node.input):
            if name not in self.floats or _takes_float16(schema, schema.inputs, index):
                continue
            if name not in kept:
                kept[name] = self._new(name, "_float32")
                if name in originals:
                    twin = graph.initializer.add()
                    twin.CopyFrom(originals[name])
                    twin.name = kept[name]
                else:
                    before.append(_cast(name, kept[name], TensorProto.FLOAT))
            node.input[index] = kept[name]
        for index, name in enumerate(node.output):
            if name in self.floats and not _takes_float16(schema, schema.outputs, index):
                node.output[index] = self._new(name, "_float32")
                after.append(_cast(node.output[index], name, TensorProto.FLOAT16))
        if any(o in self.floats for o in node.output):
            for attribute in node.attribute:
                _retype_attribute(attribute)
        return [*before, node, *after]

    def _new(self, name: str, suffix: str) -> str:
        made = name + suffix
        while made in self.taken:
            made += "_"
        self.taken.add(made)
        return made


def _takes_float16(
    schema: onnx.defs.OpSchema, parameters: Sequence[onnx.defs.OpSchema.FormalParameter], index: int
) -> bool:
    parameter = parameters[min(index, len(parameters) - 1)]  # the last one may be variadic
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    return "tensor(float16)" in allowed.get(parameter.type_str, [parameter.type_str])


def _retype_attribute(attribute: AttributeProto) -> None:
    """The attributes that state the type of an output: `to`, `dtype`, and the `value` of ConstantOfShape."""
    if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
        attribute.i = TensorProto.FLOAT16
    elif attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
        array = to_float16(numpy_helper.to_array(attribute.t))
        attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))


def _constants_to_initializers(graph: GraphProto) -> None:
    nodes = []
    for node in graph.node:
        for inner in subgraphs(node):
            _constants_to_initializers(inner)
        value = next(iter(node.attribute), None) if node.op_type == "Constant" else None
        if value is None or value.name not in ("value", "value_float", "value_floats"):
            nodes.append(node)
        elif value.name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
        else:
            array = np.array(helper.get_attribute_value(value), np.float32)
            graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    _set_nodes(graph, nodes)


def _float_tensors(graph: GraphProto) -> Iterator[str]:
    """Names of the float32 tensors of a graph and the graphs inside it; needs inferred shapes."""
    for value in [*graph.input, *graph.value_info, *graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield value.name
    yield from (t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT)
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _float_tensors(inner)


def _names(graph: GraphProto) -> Iterator[str]:
    yield from (v.name for v in graph.input)
    yield from (t.name for t in graph.initializer)
    for node in graph.node:
        yield from node.output
        for inner in subgraphs(node):
            yield from _names(inner)


def _retype(graph: GraphProto) -> None:
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16


def _rename_reads(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        for inner in subgraphs(node):
            _rename_reads(inner, old, new)


def _rename_writes(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]


def _set_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    kept = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
    graph.ClearField("node")
    graph.node.extend(kept)


def _cast(source: str, result: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{result}_Cast", to=to)
