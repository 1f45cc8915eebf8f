"""Expand: operators that ONNX itself defines by others become the nodes of their function bodies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto

from sprue.graph import opset as opset_of
from sprue.graph import with_batch
from sprue.passes.normal_form import infer_shapes, normal_form
from sprue.passes.simplify import Simplify

if TYPE_CHECKING:
    from sprue.backend import Samples

MOST_ROUNDS = 8
"""Bodies hold operators with bodies: SoftmaxCrossEntropyLoss, NegativeLogLikelihoodLoss, and so on."""


@dataclass(frozen=True)
class Expand:
    """Write out what is not in `keep`, the operators that a backend has kernels for, and fold what follows.

    Before::

        x[1,8] -> ReduceLogSumExp -> y

    After `Expand(keep=("Exp", "Log", "ReduceSum"))`::

        x[1,8] -> Exp -> ReduceSum -> Log -> y

    Some bodies depend on shapes: with `batch`, axis 0 of every input is fixed first. A node stays as it is
    when it has no body, or one that is written for another version of an operator than the model's opset has.
    """

    keep: tuple[str, ...]
    batch: int | None = None

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("onnx", "onnxruntime")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The model with only kept operators, as far as ONNX defines the others by them."""
        made = model
        for _ in range(MOST_ROUNDS):
            wider = self._once(made)
            if wider is None:
                break
            made = Simplify(batch=self.batch).apply(wider, {})
        return made

    def _once(self, model: ModelProto) -> ModelProto | None:
        """One round; None if there is nothing to expand."""
        version = opset_of(model)
        typed = infer_shapes(model) if self.batch is None else with_batch(model, self.batch)
        values = (*typed.graph.input, *typed.graph.value_info, *typed.graph.output)
        types = {v.name: v.type for v in values}
        types |= {
            t.name: onnx.helper.make_tensor_type_proto(t.data_type, t.dims) for t in typed.graph.initializer
        }
        nodes: list[NodeProto] = []
        for node in typed.graph.node:
            kept = node.op_type in self.keep and node.domain in ("", "ai.onnx")
            nodes += [node] if kept else _written_out(node, version, types) or [node]
        if len(nodes) == len(typed.graph.node):
            return None
        copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        typed.graph.ClearField("node")
        typed.graph.node.extend(copies)
        return normal_form(typed)


def _written_out(node: NodeProto, opset: int, types: Mapping[str, TypeProto]) -> list[NodeProto] | None:
    found = expand(node, opset, types)
    if found is None:
        return None
    nodes, written_for = found
    return nodes if all(_same(inner, written_for, opset) for inner in nodes) else None


def _same(node: NodeProto, one: int, other: int) -> bool:
    """Whether an operator means the same in two operator sets."""
    try:
        schemas = [onnx.defs.get_schema(node.op_type, v, node.domain) for v in (one, other)]
    except onnx.defs.SchemaError:
        return False
    return len({s.since_version for s in schemas}) == 1


def expand(node: NodeProto, opset: int, types: Mapping[str, TypeProto]) -> tuple[list[NodeProto], int] | None:
    """The nodes that compute the same as `node`, and their opset; None when ONNX defines no body for it."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None
    body = _body(schema, node, opset, types)
    if body is None:
        return None
    version = next((o.version for o in body.opset_import if o.domain == ""), opset)
    return _inline(body, node, schema), version


def _body(schema: Any, node: NodeProto, opset: int, types: Mapping[str, TypeProto]) -> FunctionProto | None:
    function = FunctionProto()
    if schema.has_context_dependent_function:
        known = [types[n].SerializeToString() if n in types else b"" for n in node.input]
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
        data = (
            schema.get_context_dependent_function_with_opset_version(
                max(versions), node.SerializeToString(), known
            )
            if versions
            else schema.get_context_dependent_function(node.SerializeToString(), known)
        )
        function.ParseFromString(data)
    elif schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= opset]
        if versions:
            function.ParseFromString(schema.get_function_with_opset_version(max(versions)))
        else:
            function.CopyFrom(schema.function_body)
    return function if function.node else None


def _inline(body: FunctionProto, node: NodeProto, schema: Any) -> list[NodeProto]:
    """The body's nodes with the caller's names; names of its own get the node's output as prefix.

    An attribute that the caller leaves out has the operator's default.
    """
    prefix = next(n for n in node.output if n)
    names = dict.fromkeys(body.input, "") | dict(zip(body.input, node.input, strict=False))
    names |= {formal: actual for formal, actual in zip(body.output, node.output, strict=False) if actual}
    given = {n: a.default_value for n, a in schema.attributes.items() if a.default_value.type}
    given |= {a.name: a for a in (*body.attribute_proto, *node.attribute)}
    own = {o: f"{prefix}/{o}" for inner in body.node for o in inner.output if o}
    names = own | {formal: actual for formal, actual in names.items() if actual or formal not in own}
    made = []
    for index, inner in enumerate(body.node):
        copy = renamed(inner, names, given)
        copy.name = f"{node.name}/{inner.op_type}_{index}"
        made.append(copy)
    return made


def renamed(
    node: NodeProto, names: Mapping[str, str], given: Mapping[str, AttributeProto] | None = None
) -> NodeProto:
    """A copy whose values go by other names, in its inner graphs, too, where these do not define their own.

    With `given`, attributes that refer to those of a function's caller take their values.
    """
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(n, n) for n in node.input]
    copy.output[:] = [names.get(n, n) for n in node.output]
    resolved = [a if given is None else _resolved(a, given) for a in node.attribute]
    del copy.attribute[:]
    copy.attribute.extend(a for a in resolved if a is not None)
    for attribute in copy.attribute:
        if attribute.HasField("g"):
            _rename_graph(attribute.g, names, given)
    return copy


def _rename_graph(
    graph: GraphProto, names: Mapping[str, str], given: Mapping[str, AttributeProto] | None
) -> None:
    own = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    own |= {o for n in graph.node for o in n.output}
    outside = {k: v for k, v in names.items() if k not in own}
    nodes = [renamed(n, outside, given) for n in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for output in graph.output:
        output.name = outside.get(output.name, output.name)


def _resolved(attribute: AttributeProto, given: Mapping[str, AttributeProto]) -> AttributeProto | None:
    """An attribute of a body node; one that refers to the caller's attribute takes its value."""
    if not attribute.ref_attr_name:
        return attribute
    source = given.get(attribute.ref_attr_name)
    if source is None:
        return None
    made = AttributeProto()
    made.CopyFrom(source)
    made.name = attribute.name
    return made
