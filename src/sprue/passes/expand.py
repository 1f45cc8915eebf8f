"""Expand: operators that a backend lacks become nodes of operators that it has.

One walk in topological order. What depends on constants and shapes only is computed on the way, loops of
known course are unrolled, and other operators are replaced by sprue's definition of them (`definitions/`) or
by ONNX's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from sprue.graph import opset as opset_of
from sprue.graph import with_batch
from sprue.passes import fold
from sprue.passes.definitions import defined
from sprue.passes.inline import expand, same_meaning
from sprue.passes.normal_form import infer_shapes, names_read, normal_form, with_inner
from sprue.passes.simplify import Simplify
from sprue.passes.unroll import unroll

if TYPE_CHECKING:
    from sprue.backend import Samples

MOST_DEPTH = 12
"""Definitions hold operators with definitions: SoftmaxCrossEntropyLoss, NegativeLogLikelihoodLoss, ..."""
DOMAINS = frozenset({"", "ai.onnx"})
SHAPES = frozenset({"Shape", "Size", "EyeLike"})
"""Their results depend on their input's shape only."""
LEFT = frozenset({"QuantizeLinear", "DequantizeLinear", "Constant"})
"""Not computed, though they may be: pairs around a weight say how it is stored."""


@dataclass(frozen=True)
class Expand:
    """Write out what is not in `keep`, the operators that a backend has kernels for, and fold what follows.

    Before::

        x[1,8] -> ReduceLogSumExp -> y

    After `Expand(keep=("Exp", "Log", "ReduceSum"))`::

        x[1,8] -> Exp -> ReduceSum -> Log -> y

    Of the operators in `first_output_only` the backend's kernels give only the first result. Some definitions
    depend on shapes: with `batch`, axis 0 of every input is fixed first. A node stays as it is when nothing
    defines it, or only for another version of an operator than the model's opset has.
    """

    keep: tuple[str, ...]
    batch: int | None = None
    first_output_only: tuple[str, ...] = ()

    version: ClassVar[int] = 3
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("onnx", "onnxruntime")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The model with only kept operators, as far as the others are defined by them."""
        flat = onnx.inliner.inline_local_functions(model) if model.functions else model
        typed = infer_shapes(flat) if self.batch is None else with_batch(flat, self.batch)
        walk = _Walk(typed, self)
        made = walk.result()
        return Simplify(batch=self.batch).apply(normal_form(made), {}) if walk.changed else model


@dataclass
class _Walk:
    """`made`: the nodes so far; `types` and `constants`: what is known of the values that they make."""

    model: ModelProto
    change: Expand
    changed: bool = False
    made: list[NodeProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.opset = opset_of(self.model)
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.types = {n: (a.dtype, a.shape) for n, a in self.constants.items()}
        values = {v.name: v.type for v in (*graph.input, *graph.value_info, *graph.output)}
        self.facts = fold.declared(graph.node, values)
        self.types |= {v.name: self.facts[v.name] for v in graph.input if v.name in self.facts}
        self.shapes = fold.shapes_backwards(graph.node, self.facts)
        self.outputs = {v.name for v in graph.output}

    def result(self) -> ModelProto:
        self._nodes(self.model.graph.node, self.opset, 0)
        graph = self.model.graph
        stored = {t.name for t in graph.initializer}
        given = sorted(self.outputs & self.constants.keys() - stored)
        for name in given:
            self.constants[f"{name}/value"] = self.constants[name]
            self.made.insert(0, helper.make_node("Identity", [f"{name}/value"], [name], f"{name}/copy"))
        read = set(names_read(self.made))
        new = sorted((read & self.constants.keys()) - stored - set(given))
        copies = [NodeProto.FromString(node.SerializeToString()) for node in self.made]
        graph.ClearField("node")
        graph.node.extend(copies)
        graph.initializer.extend(numpy_helper.from_array(self.constants[n], n) for n in new)
        return self.model

    def _nodes(self, nodes: Sequence[NodeProto], opset: int, depth: int) -> None:
        for node in nodes:
            self._node(node, opset, depth)

    def _node(self, node: NodeProto, opset: int, depth: int) -> None:
        if node.op_type == "Constant" and node.domain in DOMAINS:
            results = fold.evaluate(node, opset, {})
            if results is not None:
                self._constant(node.output[0], results[0])
                return
        types = self._types(node, opset)
        if self._folded(node, opset, types):
            self.changed = True
            return
        inside = None if depth > MOST_DEPTH else self._inside(node, opset)
        if inside is None:
            self.made.append(node)
            self.types |= types
            return
        nodes, version = inside
        self.changed = True
        self.facts |= types
        self.shapes |= fold.shapes_backwards(nodes, self.facts)
        self._nodes(nodes, version, depth + 1)

    def _kept(self, node: NodeProto) -> bool:
        more = any(node.output[1:]) and node.op_type in self.change.first_output_only
        return node.domain in DOMAINS and node.op_type in self.change.keep and not more

    def _inside(self, node: NodeProto, opset: int) -> tuple[list[NodeProto], int] | None:
        """The nodes that stand for the node, and their opset."""
        if node.domain in DOMAINS and (steps := unroll(node, opset, self.types, self.constants)) is not None:
            return steps, opset
        kept = self._kept(node)
        own = defined(node, opset, self.types, self.constants, self.shapes, forms_only=kept)
        if own is not None:
            return own, opset
        if kept:
            return None
        known = {n: fold.type_proto(*self.types[n]) for n in node.input if n in self.types}
        found = expand(node, opset, known)
        if found is None or not all(same_meaning(n, found[1], self.opset) for n in with_inner(found[0])):
            return None
        return found[0], self.opset

    def _types(self, node: NodeProto, opset: int) -> dict[str, fold.Known]:
        types = {n: self.facts[n] for n in node.output if n in self.facts}
        if any(n and n not in types for n in node.output):
            types |= fold.infer(node, opset, self.types, self.constants, self.shapes)
        return {name: fact for name, fact in types.items() if min(fact[1], default=0) >= 0}

    def _folded(self, node: NodeProto, opset: int, types: dict[str, fold.Known]) -> bool:
        if node.domain not in DOMAINS or node.op_type in LEFT:
            return False
        if node.op_type in SHAPES and node.input[0] in self.types:
            known = {n: np.broadcast_to(np.zeros((), self.types[n][0]), self.types[n][1]) for n in node.input}
        elif all(n in self.constants for n in node.input if n):
            known = {n: self.constants[n] for n in node.input if n}
        else:
            return False
        results = fold.folded(node, opset, known, [types.get(n) for n in node.output])
        for name, result in zip(node.output, results or [], strict=False):
            if name:
                self._constant(name, result)
        return results is not None

    def _constant(self, name: str, value: fold.Array) -> None:
        self.constants[name] = value
        self.types[name] = (value.dtype, value.shape)
