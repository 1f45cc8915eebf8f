"""A valid ONNX graph in the making: every node is run by onnxruntime as it is added.

So no step needs to know what shape or dtype comes out of an operator, and none can add what is not valid or
what no answer can be held against: results that are not finite, or that jump where their input moves by one
rounding error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from sprue.passes.normal_form import names_read

from .older import as_it_was

Array = NDArray[Any]
Arrays = dict[str, Array]
Choose = Callable[[int, int], int]
"""A number from the first to the last, both included: where all of a graph's randomness comes from."""

MOST_ELEMENTS = 6000
LARGEST = 1e4
"""Of float results: beyond it, float32 leaves too little behind the point to compare."""
LARGEST_INTEGER = 2**15 - 1
"""A product of two then fits int32: what comes of an overflow is not defined."""
MARGIN = 1e-3
FLOATS, INTEGERS, BOOLS = ("float32",), ("int64", "int32"), ("bool",)
NARROW = ("int8", "uint8", "int16", "uint16", "uint32", "uint64")
"""Integers that are rare in networks: for the most part they are moved."""
NUMBERS = (*FLOATS, *INTEGERS)
ALL = (*NUMBERS, *BOOLS, *NARROW)


class Skip(Exception):
    """A step that does not fit this graph; another is tried."""


def session(model: ModelProto) -> ort.InferenceSession:
    """onnxruntime without any optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def outputs(model: ModelProto, feeds: Arrays) -> Arrays:
    """Output name -> what onnxruntime gives."""
    made = session(model)
    names = [o.name for o in made.get_outputs()]
    return dict(zip(names, map(np.asarray, made.run(names, feeds)), strict=True))


@dataclass
class Growing:
    """`values`: every tensor's value for the samples. `sure`: those without rounding errors of their own.

    `known`: the operators to take; None: all.
    """

    choose: Choose
    opset: int
    known: Collection[str] | None = None
    values: Arrays = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    constants: Arrays = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    sure: set[str] = field(default_factory=set)

    # choices

    def one_of(self, options: Sequence[Any]) -> Any:
        return options[self.choose(0, len(options) - 1)]

    def maybe(self, chance: int = 2) -> bool:
        """True one time in `chance`."""
        return self.choose(1, chance) == chance

    def pick(self, dtypes: Collection[str] = FLOATS, rank: Collection[int] | None = None) -> str:
        """A tensor, the latest ones first; now and then any."""
        fits = [
            n
            for n, v in self.values.items()
            if n not in self.constants and v.dtype.name in dtypes and (rank is None or v.ndim in rank)
        ]
        if not fits:
            raise Skip
        return fits[-1 - self.choose(0, min(len(fits), 3) - 1)] if self.choose(0, 3) else self.one_of(fits)

    def axis(self, name: str) -> int:
        """One of its axes, also counted from the end."""
        rank = self.values[name].ndim
        if rank == 0:
            raise Skip
        return self.choose(-rank, rank - 1)

    # constants

    def input(self, dtype: str, shape: Sequence[int]) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        self.values[name] = self.random(dtype, shape)
        self.sure.add(name)
        return name

    def random(self, dtype: str, shape: Sequence[int], scale: float = 2.0) -> Array:
        rng = np.random.default_rng(self.choose(0, 9999))
        if dtype == "bool":
            return np.asarray(rng.random(shape) < 0.5)
        if dtype.startswith("int") or dtype.startswith("uint"):
            low = 0 if dtype.startswith("u") else -9
            return np.asarray(rng.integers(low, 10, shape), dtype)
        return np.asarray(rng.standard_normal(shape) * scale, dtype)

    def constant(self, array: Any, dtype: str | None = None) -> str:
        """An initializer; one of the same value is shared half of the time."""
        data = np.asarray(array, dtype)
        for name, there in self.constants.items():
            if there.dtype == data.dtype and np.array_equal(there, data) and self.maybe():
                return name
        name = f"w{len(self.constants)}"
        self.constants[name] = self.values[name] = data
        self.sure.add(name)
        return name

    def weight(self, *shape: int) -> str:
        fan = max(1.0, float(np.prod(shape[1:])))
        return self.constant(self.random("float32", shape, float(1 / np.sqrt(fan))))

    def integers(self, values: Any) -> str:
        return self.constant(values, "int64")

    # nodes

    def add(self, op: str, inputs: Sequence[str], count: int = 1, **attributes: Any) -> list[str]:
        """Add a node with `count` outputs. Raises Skip when onnxruntime lacks it or its result is no use."""
        if self.known is not None and op not in self.known:
            raise Skip
        names = [f"t{len(self.nodes)}_{i}" if count > 1 else f"t{len(self.nodes)}" for i in range(count)]
        given = {k: v for k, v in attributes.items() if v is not None}
        form = as_it_was(op, inputs, given, self.opset, self.constants)
        if form is None:
            raise Skip
        node = helper.make_node(op, form[0], names, f"{op}_{len(self.nodes)}", **form[1])
        made = self._run(node)
        if any(v.size > MOST_ELEMENTS or v.size == 0 for v in made):
            raise Skip
        for value in made:
            if value.dtype.kind == "f" and not (np.isfinite(value).all() and np.abs(value).max() < LARGEST):
                raise Skip
            if value.dtype.kind in "iu" and np.abs(value.astype(np.float64)).max() > LARGEST_INTEGER:
                raise Skip
        self.nodes.append(node)
        self.values.update(zip(names, made, strict=True))
        if all(v.dtype.kind != "f" for v in made):
            self.sure.update(names)
        return names

    def moved(self, op: str, inputs: Sequence[str], count: int = 1, **attributes: Any) -> list[str]:
        """A node that computes nothing: its results are as sure as its inputs are."""
        names = self.add(op, inputs, count, **attributes)
        if all(i in self.sure for i in inputs if i):
            self.sure.update(names)
        return names

    def _run(self, node: NodeProto) -> list[Array]:
        read = [n for n in dict.fromkeys(names_read([node])) if n in self.values]
        fed = {n: self.values[n] for n in read if n not in self.constants}
        held = {n: self.constants[n] for n in read if n in self.constants}
        model = _model([node], fed, list(node.output), held, self.opset)
        try:
            return list(outputs(model, fed).values())
        except Exception as error:  # onnxruntime's errors share no base class but Exception
            raise Skip from error

    # what an answer can be held against

    def far_from(self, name: str, *edges: float, period: float | None = None) -> None:
        """Raises Skip if a rounding error could carry the tensor over an edge, at which its reader jumps."""
        value = self.values[name]
        if name in self.sure or value.dtype.kind != "f":
            return
        for edge in edges:
            apart = value - edge
            if period is not None:
                apart = apart - period * np.round(apart / period)
            if np.abs(apart).min() < MARGIN * max(1.0, period or 1.0):
                raise Skip

    def apart(self, a: str, b: str) -> None:
        """Raises Skip if rounding errors could turn a comparison of the two around."""
        if a in self.sure and b in self.sure:
            return
        if np.abs(self.values[a].astype(float) - self.values[b].astype(float)).min() < MARGIN:
            raise Skip

    def distinct(self, name: str, axes: Sequence[int]) -> None:
        """Raises Skip if the order of the values along the axes may hang on a rounding error."""
        if name in self.sure:
            return
        value = np.moveaxis(self.values[name], axes, range(len(axes)))
        ordered = np.sort(value.reshape(int(np.prod(value.shape[: len(axes)])), -1), axis=0)
        if len(ordered) > 1 and np.diff(ordered, axis=0).min() < MARGIN:
            raise Skip

    # the end

    def model(self) -> ModelProto:
        """The graph; its outputs are the tensors that nothing reads, and now and then one that is read."""
        read = set(names_read(self.nodes))
        ends = [n for node in self.nodes for n in node.output if n not in read]
        made = [o for node in self.nodes for o in node.output if o in read]
        if made and self.maybe():
            ends.insert(self.choose(0, len(ends)), self.one_of(made))
        used = {n: v for n, v in self.constants.items() if n in read}
        fed = {n: self.values[n] for n in self.inputs if n in read}
        return _model(self.nodes, fed, ends, used, self.opset, self.values)


def one_node(node: NodeProto, fed: Arrays, held: Arrays, made: Arrays, opset: int) -> ModelProto:
    """A model of one node; `fed` are its inputs, `held` its constants."""
    return _model([node], fed, list(made), held, opset, made)


def _model(
    nodes: Sequence[NodeProto],
    fed: Arrays,
    made: Sequence[str],
    held: Arrays,
    opset: int,
    values: Arrays | None = None,
) -> ModelProto:
    def border(name: str, array: Array | None, *, shaped: bool) -> ValueInfoProto:
        if array is None:
            return helper.make_empty_tensor_value_info(name)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, kind, array.shape if shaped else None)

    known = values or {}
    graph = helper.make_graph(
        list(nodes),
        "random",
        [border(n, a, shaped=True) for n, a in fed.items()],
        [border(n, known.get(n), shaped=False) for n in made if n],
        [numpy_helper.from_array(a, n) for n, a in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
