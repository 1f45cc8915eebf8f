"""Writer: nodes for the results of another node, with names and the operator set's dialect taken care of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from onnx import NodeProto, helper, numpy_helper

from sprue.graph import Attributed, attributes
from sprue.passes.fold import Array, Known, Shape, infer


class NotDefined(Exception):
    """This form of the operator is not covered."""


@dataclass
class Writer(Attributed):
    """`made`: the nodes so far. Values are names; `y(0)` is what the first result must be called."""

    node: NodeProto
    opset: int
    types: Mapping[str, Known]
    constants: Mapping[str, Array]
    shapes: Mapping[str, Shape]
    made: list[NodeProto] = field(default_factory=list)

    refusal: ClassVar[type[Exception]] = NotDefined

    def __post_init__(self) -> None:
        self.attributes = attributes(self.node)
        self.prefix = f"{next(n for n in self.node.output if n)}/{self.node.op_type}"

    def has(self, position: int) -> bool:
        return position < len(self.node.input) and self.node.input[position] != ""

    def x(self, position: int = 0) -> str:
        """The name of an input. Raises NotDefined when it is left out."""
        if not self.has(position):
            raise NotDefined
        return str(self.node.input[position])

    def shape(self, position: int = 0) -> Shape:
        return self._known(position)[1]

    def made_shape(self, position: int = 0) -> Shape:
        """The shape of a result. Raises NotDefined when it is not known."""
        known = infer(self.node, self.opset, self.types, self.constants, self.shapes)
        if self.node.output[position] not in known:
            raise NotDefined
        return known[self.node.output[position]][1]

    def dtype(self, position: int = 0) -> np.dtype[np.generic]:
        return self._known(position)[0]

    def value(self, position: int) -> Array:
        """The constant at an input. Raises NotDefined when it is computed at run time."""
        name = self.x(position)
        if name not in self.constants:
            raise NotDefined
        return self.constants[name]

    def wants(self, position: int) -> bool:
        """Whether a result is used."""
        return position < len(self.node.output) and self.node.output[position] != ""

    def op(self, op: str, *inputs: str, **given: Any) -> str:
        """A node with one result; returns the result's name."""
        return self.several(op, 1, *inputs, **given)[0]

    def several(self, op: str, results: int, *inputs: str, **given: Any) -> list[str]:
        name = f"{self.prefix}/{op}_{len(self.made)}"
        outputs = [f"{name}/{i}" if i else name for i in range(results)]
        self.made.append(helper.make_node(op, list(inputs), outputs, name, **given))
        return outputs

    def result(self, value: str, position: int = 0) -> None:
        """`value` is the node's result at `position`, if anybody wants it."""
        if self.wants(position):
            output = self.node.output[position]
            self.made.append(helper.make_node("Identity", [value], [output], f"{output}/result"))

    def constant(self, value: object, dtype: DTypeLike | None = None) -> str:
        name = f"{self.prefix}/constant_{len(self.made)}"
        array = np.asarray(value, dtype)
        self.made.append(helper.make_node("Constant", [], [name], name, value=numpy_helper.from_array(array)))
        return name

    def like(self, value: object, position: int = 0) -> str:
        """A constant of the dtype of an input."""
        return self.constant(value, self.dtype(position))

    def cast(self, value: str, dtype: DTypeLike) -> str:
        return self.op("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        return self.op("Reshape", value, self.constant(list(shape), np.int64))

    def transpose(self, value: str, order: Sequence[int]) -> str:
        return value if list(order) == sorted(order) else self.op("Transpose", value, perm=list(order))

    def reduce(self, op: str, value: str, axes: Sequence[int], *, keep: bool) -> str:
        """Axes are an input of ReduceSum since opset 13, of the others since 18."""
        if self.opset >= (13 if op == "ReduceSum" else 18):
            return self.op(op, value, self.constant(list(axes), np.int64), keepdims=int(keep))
        return self.op(op, value, axes=list(axes), keepdims=int(keep))

    def slice(self, value: str, axis: int, start: int, end: int) -> str:
        if self.opset < 10:
            return self.op("Slice", value, axes=[axis], starts=[start], ends=[end])
        return self.op("Slice", value, *(self.constant([v], np.int64) for v in (start, end, axis)))

    def gather(self, value: str, indices: Array | Sequence[int] | int, axis: int) -> str:
        return self.op("Gather", value, self.constant(indices, np.int64), axis=axis)

    def pad(self, value: str, pads: Sequence[int]) -> str:
        """Zeros around `value`: of all axes before, then of all after."""
        if self.opset < 11:
            return self.op("Pad", value, pads=list(pads))
        return self.op("Pad", value, self.constant(list(pads), np.int64))

    def again(self, op: str, inputs: Sequence[str], results: int = 1, **changed: Any) -> list[str]:
        """Another node with this one's attributes, some of them changed; None leaves one out."""
        texts = {n: v.decode() if isinstance(v, bytes) else v for n, v in self.attributes.items()}
        given = {n: v for n, v in {**texts, **changed}.items() if v is not None}
        return self.several(op, results, *inputs, **given)

    def _known(self, position: int) -> Known:
        name = self.x(position)
        if name not in self.types:
            raise NotDefined
        return self.types[name]
