"""ONNX graph -> TFLite graph: one walk in topological order.

What depends on constants only is computed on the way, what ONNX defines by other operators is replaced by
them, and everything else is lowered by the function that `registry.py` knows. The walk does not stop at a
node that cannot be lowered: it writes a finding and goes on, so that `check` names all of them, and because
`check` and `compile` are the same walk, they cannot disagree.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from sprue import graph as onnx_graph
from sprue.backend import Finding
from sprue.passes import fold
from sprue.passes.definitions import defined
from sprue.passes.inline import expand
from sprue.passes.normal_form import names_read
from sprue.passes.unroll import unroll

from .emit import Array, Tensor, Unsupported
from .flatbuffer import TENSOR_TYPES
from .fuse import fuse_gelu
from .layout import Graph, Laid, Value, identity
from .registry import Made, Node, lowerings

OLDEST_OPSET = 7
"""Before it, Add and the like broadcast in another way."""
DOMAINS = frozenset({"", "ai.onnx"})
SHAPES = frozenset({"Shape", "Size"})
"""Their result depends on their input's shape only, so they are constants here."""
SIZED = fold.ONE_AXIS | {"NonZero"}
"""The size of their result depends on values; what reads it may tell (`fold.declared`)."""
LARGEST = 2**31 - 1
"""Bytes of a tensor."""
MAX_DEPTH = 8
"""How deep function bodies may stand in function bodies."""


@dataclass(frozen=True)
class Lowered:
    """The graph's borders, in the model's order and under its names, or what stands in the way."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    findings: tuple[Finding, ...] = ()


def lower(model: ModelProto, *, free: bool = False) -> Lowered:
    """Lower a model whose input shapes are all fixed. `free`: to what is right for other batches, too."""
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    walk = _Walk(_typed(model), free)
    return walk.result()


def _typed(model: ModelProto) -> ModelProto:
    """With the types of all values, where there are some whose size only their readers tell."""
    if not SIZED & {n.op_type for n in model.graph.node}:
        return model
    try:
        return onnx_graph.infer_shapes(model)
    except onnx.shape_inference.InferenceError:
        return model  # the walk says which node it is


@dataclass
class _Walk:
    model: ModelProto
    free: bool
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        source = self.model.graph
        self.graph = Graph([v.name for v in (*source.input, *source.output)], free=self.free)
        self.values: dict[str, Value] = {}
        self.types: dict[str, fold.Known] = {}
        self.constants: dict[str, Array] = {}
        stored = source.initializer
        known = {t.name: helper.make_tensor_type_proto(t.data_type, t.dims) for t in stored}
        known |= {v.name: v.type for v in (*source.value_info, *source.output)}
        self.facts = fold.declared(source.node, known)
        self.shapes = fold.shapes_backwards(source.node, self.facts)
        self.uses = Counter(names_read(source.node))
        self.uses.update(v.name for v in source.output)

    def result(self) -> Lowered:
        inputs = self._inputs()
        self._opset(onnx_graph.opset(self.model))
        self._nodes(fuse_gelu(self.model.graph.node, self.constants), onnx_graph.opset(self.model), 0)
        outputs = [] if self.findings else self._outputs(inputs)
        return Lowered(tuple(inputs), tuple(outputs), tuple(self.findings))

    def _inputs(self) -> list[Tensor]:
        for initializer in self.model.graph.initializer:
            self._constant(initializer.name, numpy_helper.to_array(initializer))
        if self.model.graph.sparse_initializer:
            self._find("", "", "sparse initializers", "store the weights densely", "operator")
        made = []
        for value in self.model.graph.input:
            if value.name in self.constants:
                continue
            fact = fold.known(value.type)
            if fact is None or fact[0].name not in TENSOR_TYPES:
                what = "its shape is not fixed" if fact is None else f"TFLite has no {fact[0].name} tensors"
                self._find("", "input", f"input '{value.name}': {what}", "fix it in the export", "shape")
                continue
            dtype, shape = fact
            tensor = Tensor(value.name, shape, dtype)
            self._define(value.name, dtype, shape).views[identity(len(shape))] = tensor
            made.append(tensor)
        return made

    def _opset(self, opset: int) -> None:
        newest = onnx.defs.onnx_opset_version()
        changed = [n for n in self.model.graph.node if opset < OLDEST_OPSET and _changed(n, opset)]
        if opset > newest or changed:
            name, op = (changed[0].name, changed[0].op_type) if changed else ("", "")
            reason = f"operator set {opset}; sprue's lowering knows {OLDEST_OPSET} to {newest}"
            remedy = "convert it with onnx.version_converter, or export it anew"
            self._find(name, op, reason, remedy, "operator")

    def _outputs(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        made: list[Tensor] = []
        for output in self.model.graph.output:
            value = self.values[output.name]
            self.graph.hint = output.name
            tensor = self.graph.tensor(value)
            if tensor.data is not None or tensor in inputs or tensor in made or tensor.variable:
                tensor = self.graph.copy(tensor)
            tensor.name = output.name
            made.append(tensor)
        return made

    def _nodes(self, nodes: Sequence[NodeProto], opset: int, depth: int) -> None:
        for index, node in enumerate(nodes):
            named = node.name or f"{node.op_type}_{index}"
            try:
                self._node(node, named, opset, depth)
            except Unsupported as reason:
                self._find(named, node.op_type, reason.reason, reason.remedy, "operator")
                self._skip(node, opset)
            except ValueError:
                if not self.findings:
                    raise
                self._skip(node, opset)  # what was refused before it may have another shape than was inferred

    def _node(self, node: NodeProto, name: str, opset: int, depth: int) -> None:
        lowering = lowerings().get(node.op_type) if node.domain in DOMAINS else None
        arguments = [n for n in node.input if n]
        if any(n not in self.values for n in arguments):
            if lowering is None and self._inside(node, opset) is None:
                raise Unsupported("the operator is not supported", "replace it, or build for another target")
            if not self.findings:
                raise Unsupported("an input that no node makes", "correct the model")
            return  # what it depends on is already a finding
        types = self._types(node, opset)
        for result, (dtype, shape) in types.items():
            if (size := math.prod(shape) * dtype.itemsize) > LARGEST:
                raise Unsupported(f"'{result}' takes {size} bytes, TFLite holds {LARGEST}", "make it smaller")
        if self._folded(node, opset, types):
            return
        if lowering is not None and any(n and n not in types for n in node.output):
            lowering = None  # its shapes are not known, but those of its function body may be
        if lowering is None:
            self._expanded(node, name, opset, depth, "the operator is not supported")
            return
        self.graph.hint = next(n for n in node.output if n)
        self.graph.node = name
        outputs = [self._value(n, types) for n in self._wanted(node)]
        inputs = [self.values[n] if n else None for n in node.input]
        attributes = onnx_graph.attributes(node)
        try:
            made = lowering(self.graph, Node(node.op_type, name, opset, inputs, attributes, outputs))
            self._bind(outputs, made)
        except Unsupported as reason:
            if reason.final:
                raise
            self._expanded(node, name, opset, depth, reason.reason, reason.remedy)

    def _wanted(self, node: NodeProto) -> list[str]:
        """The outputs of a node; "" for those behind the first that nobody reads: exporters name all."""
        return [n if n == node.output[0] or self.uses[n] else "" for n in node.output]

    def _types(self, node: NodeProto, opset: int) -> dict[str, fold.Known]:
        types = {n: self.facts[n] for n in node.output if n in self.facts}
        if any(n and n not in types for n in node.output):
            types |= fold.infer(node, opset, self.types, self.constants, self.shapes)
        # Inference propagates data that only a run has, and may end below zero: then nothing is known.
        return {name: (dtype, shape) for name, (dtype, shape) in types.items() if min(shape, default=0) >= 0}

    def _folded(self, node: NodeProto, opset: int, types: dict[str, fold.Known]) -> bool:
        if node.op_type in SHAPES and node.domain in DOMAINS:
            known = {n: np.broadcast_to(np.zeros((), self.types[n][0]), self.types[n][1]) for n in node.input}
        elif all(n in self.constants for n in node.input if n):
            known = {n: self.constants[n] for n in node.input if n}
        else:
            return False
        if node.domain not in DOMAINS:
            return False
        results = fold.folded(node, opset, known, [types.get(n) for n in node.output])
        if results is None:
            return False
        for name, result in zip(node.output, results, strict=True):
            if name:
                self._constant(name, result)
        return True

    def _expanded(
        self, node: NodeProto, name: str, opset: int, depth: int, reason: str, remedy: str = ""
    ) -> None:
        """Lower the node's function body in its place. Raises Unsupported(reason) when it has none."""
        found = self._inside(node, opset) if depth < MAX_DEPTH else None
        if found is None:
            unknown = [n for n in node.output if n and n not in self._types(node, opset)]
            if unknown and name and node.op_type in lowerings():
                raise Unsupported(
                    f"the shape of '{unknown[0]}' is not known before it runs", "fix the shapes"
                )
            raise Unsupported(reason, remedy or "replace it, or build for another target")
        nodes, version = found
        self.uses.update(names_read(nodes))
        for read in set(names_read(nodes)) & set(self.values):
            self.values[read].uses = self.uses[read]
        self.facts.update(self._types(node, opset))
        self.shapes |= fold.shapes_backwards(nodes, self.facts)
        before = len(self.findings)
        self._nodes(nodes, version, depth + 1)
        if len(self.findings) > before:
            inner = self.findings[before]
            del self.findings[before:]
            raise Unsupported(f"{reason}, nor is {inner.op} in its definition: {inner.reason}", inner.remedy)

    def _inside(self, node: NodeProto, opset: int) -> tuple[list[NodeProto], int] | None:
        """The nodes that a definition or a loop of known course stands for, and their opset."""
        if node.domain in DOMAINS:
            steps = unroll(node, opset, self.types, self.constants)
            if steps is not None:
                return steps, opset
        own = defined(node, opset, self.types, self.constants, self.shapes, forms_only=False)
        if own is not None:
            return own, opset
        known = {n: fold.type_proto(*self.types[n]) for n in node.input if n in self.types}
        return expand(node, opset, known)

    def _bind(self, outputs: list[Value], made: Made) -> None:
        results = _each_laid(made)
        for value, (tensor, perm) in zip(outputs, results, strict=False):
            if not value.name:
                continue
            shape = tuple(value.shape[p] for p in perm) if len(perm) == value.rank else None
            if tensor.shape != shape or tensor.dtype != value.dtype:
                raise Unsupported(
                    f"lowered to {tensor.dtype}{list(tensor.shape)} where ONNX says "
                    f"{value.dtype}{list(value.shape)}",
                    "this is a bug of sprue: please report it",
                )
            value.views[perm] = tensor
            tensor.holders += 1
        for value in outputs[: len(results)]:
            if value.name:
                self.values[value.name] = value
                self.types[value.name] = (value.dtype, value.shape)

    def _value(self, name: str, types: dict[str, fold.Known]) -> Value:
        if not name:
            return Value("", (), np.dtype(np.float32), uses=0)
        dtype, shape = types[name]
        return Value(name, shape, dtype, uses=self.uses[name])

    def _define(self, name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Value:
        self.types[name] = (dtype, shape)
        self.values[name] = Value(name, shape, dtype, uses=self.uses[name])
        return self.values[name]

    def _constant(self, name: str, value: Array) -> None:
        self.constants[name] = value
        self._define(name, value.dtype, value.shape).const = value

    def _skip(self, node: NodeProto, opset: int) -> None:
        """Let the walk go on behind a node that failed, if the shapes of its outputs are known."""
        for name, (dtype, shape) in self._types(node, opset).items():
            tensor = Tensor(self.graph.fresh(name), shape, dtype)
            self._define(name, dtype, shape).views[identity(len(shape))] = tensor

    def _find(self, node: str, op: str, reason: str, remedy: str, kind: str) -> None:
        self.findings.append(Finding(kind, node, op, reason, remedy))  # type: ignore[arg-type]  # a Literal


def _changed(node: NodeProto, opset: int) -> bool:
    """Whether the operator meant something else in this operator set than in the oldest that we know."""
    try:
        versions = [
            onnx.defs.get_schema(node.op_type, v, node.domain).since_version for v in (opset, OLDEST_OPSET)
        ]
    except onnx.defs.SchemaError:
        return False  # named as unsupported elsewhere
    return versions[0] != versions[1]


def _each_laid(made: Made) -> list[Laid]:
    """What a lowering returned, one pair of tensor and order for each output."""
    if isinstance(made, Tensor):
        return [(made, identity(made.rank))]
    if isinstance(made, tuple):
        return [made]
    return [(m, identity(m.rank)) if isinstance(m, Tensor) else m for m in made]
