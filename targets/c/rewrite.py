"""Graph -> Graph before lowering: QDQ pairs and activations move into the nodes that compute them.

Which operators can take them in is said in `ops/`: a module may hold `CLAMPS`, the operators whose kernels
limit their result, and `INTEGER`, operator -> whether it has a kernel for this quantized node.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from . import ops
from .nodes import Array, Clamp, Graph, Node, Quant, Value, usable

Accepts = Callable[[Node, Graph], bool]


@cache
def clamping() -> frozenset[str]:
    return frozenset().union(*(getattr(m, "CLAMPS", frozenset()) for m in _modules()))


@cache
def integer() -> Mapping[str, Accepts]:
    found: dict[str, Accepts] = {}
    for module in _modules():
        found.update(getattr(module, "INTEGER", {}))
    return found


def _modules() -> list[object]:
    names = sorted(m.name for m in pkgutil.iter_modules(ops.__path__))
    return [importlib.import_module(f"{ops.__name__}.{name}") for name in names]


def rewrite(graph: Graph) -> Graph:
    """All rewrites in order; the result computes the same.

    Before::

        x -> Q -> DQ -> Conv(DQ(w), DQ(b)) -> Relu -> Q -> DQ -> y

    After::

        x -> Q -> Conv[int8, clamp](w, b) -> DQ -> y
    """
    graph = with_fused_clamps(without_dead_nodes(graph))
    graph = with_folded_pairs(with_early_quantization(graph))
    return without_dead_nodes(with_constant_weights(graph))


MOVEMENTS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that only put elements elsewhere, whatever they are."""


def with_early_quantization(graph: Graph) -> Graph:
    """QuantizeLinear before what only moves its elements: they are moved as a quarter of the bytes.

    Before::

        x -> Transpose -> Q -> y

    After::

        x -> Q -> Transpose -> y
    """
    nodes, values, readers = list(graph.nodes), dict(graph.values), graph.readers()
    made_at = {o: i for i, n in enumerate(nodes) for o in n.outputs if o}
    for index, node in reversed(list(enumerate(graph.nodes))):
        quant = quantization(node, graph) if node.op == "QuantizeLinear" else None
        if quant is None or not quant.per_tensor:
            continue
        at = index
        while (above := made_at.get(nodes[at].inputs[0])) is not None:
            quantize, move, moved = nodes[at], nodes[above], nodes[at].inputs[0]
            if move.op not in MOVEMENTS or len(readers[moved]) > 1 or moved in graph.outputs:
                break
            if _dequantized(move.inputs[0], nodes, made_at):
                break  # then integers are moved as it is
            source, early = move.inputs[0], f"{moved}_quantized"
            values[early] = Value(quant.dtype, graph.value(source).shape)
            nodes[above] = replace(quantize, inputs=(source, *quantize.inputs[1:]), outputs=(early,))
            nodes[at] = replace(move, inputs=(early, *move.inputs[1:]), outputs=quantize.outputs)
            at = above
    return replace(graph, nodes=tuple(nodes), values=values)


def _dequantized(name: str, nodes: Sequence[Node], made_at: Mapping[str, int]) -> bool:
    """Whether `name` is dequantized integers, perhaps moved."""
    while (at := made_at.get(name)) is not None and nodes[at].op in MOVEMENTS:
        name = nodes[at].inputs[0]
    return at is not None and nodes[at].op == "DequantizeLinear"


def without_dead_nodes(graph: Graph) -> Graph:
    """Only what the outputs depend on. An output of a live node that nobody reads is renamed to ''."""
    wanted = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if wanted.isdisjoint(o for o in node.outputs if o):
            continue
        kept.append(replace(node, outputs=tuple(o if o in wanted else "" for o in node.outputs)))
        wanted.update(i for i in node.inputs if i)
    return replace(graph, nodes=tuple(reversed(kept)))


def with_fused_clamps(graph: Graph) -> Graph:
    """Relu and Clip move into the operator before them when nothing else reads its result."""
    readers = graph.readers()
    nodes: list[Node] = []
    made_by: dict[str, int] = {}
    for node in graph.nodes:
        clamp = _clamp(node, graph)
        index = made_by.get(node.inputs[0]) if clamp is not None else None
        before = nodes[index] if index is not None else None
        if (
            before is not None and index is not None
            and before.op in clamping() and before.clamp is None
            and len(readers.get(node.inputs[0], [])) == 1
            and node.inputs[0] not in graph.outputs
            and graph.value(node.inputs[0]).dtype == np.float32
        ):  # fmt: skip
            nodes[index] = replace(before, clamp=clamp, outputs=node.outputs)
            made_by[node.outputs[0]] = index
            continue
        made_by.update(dict.fromkeys((o for o in node.outputs if o), len(nodes)))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _clamp(node: Node, graph: Graph) -> Clamp | None:
    if node.op == "Relu":
        return Clamp(0.0, None)
    if node.op != "Clip":
        return None
    limits: list[float | None] = []
    for position, name in ((1, "min"), (2, "max")):
        if node.has(position):
            limit = graph.constants.get(node.inputs[position])
            if limit is None or limit.size != 1:
                return None
            limits.append(float(limit.ravel()[0]))
        else:
            limits.append(node.real(name, 0.0) if name in node.attributes else None)
    return Clamp(limits[0], limits[1])


def with_folded_pairs(graph: Graph) -> Graph:
    """DequantizeLinear before and QuantizeLinear after a node move into it, if it has an integer kernel."""
    producers = graph.producers()
    readers = graph.readers()
    gone: set[str] = set()
    made: dict[str, Node] = {}
    for node in graph.nodes:
        accepts = integer().get(node.op)
        if accepts is None:
            continue
        for candidate in _candidates(node, graph, producers, readers):
            if accepts(candidate, graph):
                made[node.name] = candidate
                if candidate.outputs != node.outputs:
                    gone.add(readers[node.outputs[0]][0].name)
                break
    nodes = tuple(made.get(n.name, n) for n in graph.nodes if n.name not in gone)
    return replace(graph, nodes=nodes)


def _candidates(
    node: Node, graph: Graph, producers: Mapping[str, Node], readers: Mapping[str, list[Node]]
) -> Iterator[Node]:
    """The node with all pairs folded in; then without the one behind; then with quantized weights only."""
    folded: dict[int, tuple[str, Quant]] = {}
    for position, name in enumerate(node.inputs):
        before = producers.get(name)
        quant = (
            quantization(before, graph) if before is not None and before.op == "DequantizeLinear" else None
        )
        if before is not None and quant is not None:
            folded[position] = (before.inputs[0], quant)
    after = readers.get(node.outputs[0], []) if sum(1 for o in node.outputs if o) == 1 else []
    alone = len(after) == 1 and after[0].op == "QuantizeLinear" and node.outputs[0] not in graph.outputs
    result = quantization(after[0], graph) if alone else None
    inputs = tuple(folded[p][0] if p in folded else name for p, name in enumerate(node.inputs))
    everything = replace(node, inputs=inputs, quants={p: q for p, (_, q) in folded.items()})
    if result is not None and result.per_tensor:
        yield replace(everything, result=result, outputs=(after[0].outputs[0], *node.outputs[1:]))
    if folded:
        yield everything
        weights = {p: f for p, f in folded.items() if f[0] in graph.constants}
        inputs = tuple(weights[p][0] if p in weights else name for p, name in enumerate(node.inputs))
        yield replace(node, inputs=inputs, quants={p: q for p, (_, q) in weights.items()})


def quantization(node: Node, graph: Graph) -> Quant | None:
    """The constants of a QuantizeLinear or DequantizeLinear; None when they are no 8- or 32-bit constants."""
    if node.inputs[1] not in graph.constants or node.integer("block_size", 0):
        return None
    scale = graph.constants[node.inputs[1]]
    stored = node.outputs[0] if node.op == "QuantizeLinear" else node.inputs[0]
    dtype = graph.value(stored).dtype
    if node.has(2):
        if node.inputs[2] not in graph.constants:
            return None
        zero = graph.constants[node.inputs[2]].astype(np.int32)
    else:
        zero = np.zeros(scale.shape, np.int32)
    if scale.dtype != np.float32 or scale.ndim > 1 or zero.size != scale.size:
        return None
    if dtype.name not in ("int8", "uint8", "int32") or not usable(scale):
        return None
    rank = len(graph.value(stored).shape)
    axis = node.integer("axis", 1)
    if scale.size == 1:
        return Quant(scale.astype(np.float32).reshape(()), zero.reshape(()), dtype)
    return Quant(scale.astype(np.float32), zero, dtype, axis + rank if axis < 0 else axis)


def with_constant_weights(graph: Graph) -> Graph:
    """What is left of DequantizeLinear over constants becomes float32 constants."""
    constants: dict[str, Array] = dict(graph.constants)
    values = dict(graph.values)
    nodes = []
    for node in graph.nodes:
        if node.op == "DequantizeLinear" and node.inputs[0] in constants and node.outputs[0]:
            quant = quantization(node, graph)
            if quant is not None:
                made = dequantized(constants[node.inputs[0]], quant)
                constants[node.outputs[0]] = made
                values[node.outputs[0]] = Value(made.dtype, made.shape)
                continue
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants, values=values)


def dequantized(stored: Array, quant: Quant) -> Array:
    """(stored - zero) * scale in float32, as DequantizeLinear computes it."""
    shape = [1] * stored.ndim
    if not quant.per_tensor:
        shape[quant.axis] = -1
    zero = quant.zero.reshape(shape)
    made: Array = (stored.astype(np.int32) - zero).astype(np.float32) * quant.scale.reshape(shape)
    return made
