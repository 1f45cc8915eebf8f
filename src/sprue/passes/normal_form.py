"""The form in which every pass leaves a model, so that equal networks are equal bytes.

Libraries order initializers and value infos by hash tables, list operator sets that no node uses, and leave
their own metadata behind. Here that is put in one order: by first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import GraphProto, ModelProto, NodeProto

from sprue import graph
from sprue.errors import SprueError
from sprue.graph import normalise

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def normal_form(model: ModelProto) -> ModelProto:
    """A normalised copy: used initializers only, in order of use; used domains only; shapes inferred anew."""
    made = normalise(model)
    read = [*names_read(made.graph.node), *(v.name for v in made.graph.output)]
    order = {name: index for index, name in reversed(list(enumerate(read)))}
    kept = sorted((t for t in made.graph.initializer if t.name in order), key=lambda t: order[t.name])
    initializers = [onnx.TensorProto.FromString(t.SerializeToString()) for t in kept]
    made.graph.ClearField("initializer")
    made.graph.initializer.extend(initializers)
    _keep_used_domains(made)
    made.graph.ClearField("value_info")
    return infer_shapes(made)


def infer_shapes(model: ModelProto) -> ModelProto:
    """Shape inference that follows shape arithmetic. Raises SprueError when the shapes contradict."""
    try:
        return graph.infer_shapes(model)
    except onnx.shape_inference.InferenceError as error:
        raise SprueError(
            f"the shapes of the ONNX graph contradict each other: {str(error).splitlines()[0]}",
            remedy="export the model again; onnx.checker.check_model(model, full_check=True) shows the node",
        ) from error


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node of a graph and of the graphs inside its nodes (If, Loop, Scan), in order."""
    return with_inner(graph.node)


def with_inner(outer: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Each node, and those of the graphs inside it."""
    for node in outer:
        yield node
        for inner in subgraphs(node):
            yield from nodes(inner)


def names_read(outer: Iterable[NodeProto]) -> Iterator[str]:
    """The inputs of these nodes and of those inside them, and the outputs of the graphs inside, each time."""
    for node in with_inner(outer):
        yield from node.input
        for inner in subgraphs(node):
            yield from (v.name for v in inner.output)


def subgraphs(node: NodeProto) -> list[GraphProto]:
    found: list[GraphProto] = []
    for attribute in node.attribute:
        found += [attribute.g] if attribute.HasField("g") else list(attribute.graphs)
    return found


def foreign_nodes(model: ModelProto) -> list[NodeProto]:
    """Nodes of operator sets that belong to one runtime only."""
    return [n for n in nodes(model.graph) if n.domain not in STANDARD_DOMAINS]


def _keep_used_domains(model: ModelProto) -> None:
    used = {n.domain for n in nodes(model.graph)} | {n.domain for f in model.functions for n in f.node}
    used = {"" if d == "ai.onnx" else d for d in used} | {""}
    versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    model.ClearField("opset_import")
    for domain in sorted(used & versions.keys()):
        model.opset_import.add(domain=domain, version=versions[domain])
