"""Function bodies: an operator that ONNX defines by others becomes the nodes of its definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TypeProto


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


def same_meaning(node: NodeProto, one: int, other: int) -> bool:
    """Whether an operator means the same in two operator sets."""
    try:
        schemas = [onnx.defs.get_schema(node.op_type, v, node.domain) for v in (one, other)]
    except onnx.defs.SchemaError:
        return False
    return len({s.since_version for s in schemas}) == 1
