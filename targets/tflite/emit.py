"""The TFLite graph in the making: tensors, operations, and the verbs that the lowerings speak.

Tensors and operations hold each other directly, so there are no indices to keep straight: `flatbuffer.py`
walks back from the outputs, and what nobody needs is never written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Perm = tuple[int, ...]

FUSES_RELU = frozenset(
    {"ADD", "SUB", "MUL", "DIV", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    | {"AVERAGE_POOL_2D", "MAX_POOL_2D"}
)
"""Operations whose kernels apply a fused activation in every runtime that we run."""

FIRST_VERSIONS = {"BROADCAST_TO": 2}
"""Operations that no runtime has registered at version 1."""


class Unsupported(Exception):
    """Raised by a lowering: this node cannot be expressed. Becomes a Finding that names the node.

    `final`: nor may it be replaced by its definition.
    """

    def __init__(self, reason: str, remedy: str = "", *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.final = final


@dataclass(eq=False)
class Tensor:
    """A TFLite tensor. `data` is set for constants; `variable` marks state that an operation writes.

    `consumers` counts the operations that read it so far, `holders` the ONNX values that it stands for.
    `signature`: the shape with -1 where it is free, if that is so; `shape` is what is planned for.
    """

    name: str
    shape: Shape
    dtype: np.dtype[np.generic]
    data: Array | None = None
    producer: Operation | None = None
    variable: bool = False
    consumers: int = 0
    holders: int = 0
    scale: NDArray[np.float32] | None = None
    zero_point: NDArray[np.int64] | None = None
    quantized_axis: int = 0
    signature: Shape | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(eq=False)
class Operation:
    """`options` are the fields of the schema's options table, as the object API spells them.

    `node`: the ONNX node that it is a part of.
    """

    code: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: dict[str, object] = field(default_factory=dict)
    version: int = 1
    node: str = ""


class Emitter:
    """Makes tensors with unique names and operations with their shapes.

    `free`: the batch stays free, so what is right for one sample only is not done.
    """

    def __init__(self, reserved: Sequence[str] = (), *, free: bool = False) -> None:
        self.free = free
        self.hint = "t"
        self.node = ""
        self._names: dict[str, int] = dict.fromkeys(reserved, 0)
        self._constants: dict[tuple[str, Shape, bytes], Tensor] = {}

    def fresh(self, hint: str) -> str:
        count = self._names.get(hint)
        self._names[hint] = 0 if count is None else count + 1
        return hint if count is None else self.fresh(f"{hint}.{count + 1}")

    def constant(self, value: ArrayLike, dtype: DTypeLike | None = None, hint: str = "") -> Tensor:
        """A constant; small ones are shared by value."""
        data = np.ascontiguousarray(value, dtype)
        data = data.reshape(np.shape(value))
        if data.nbytes > 256:
            return Tensor(self.fresh(hint or f"{self.hint}/const"), data.shape, data.dtype, data)
        key = (data.dtype.str, data.shape, data.tobytes())
        if key not in self._constants:
            name = self.fresh(hint or f"{self.hint}/const")
            self._constants[key] = Tensor(name, data.shape, data.dtype, data)
        return self._constants[key]

    def op(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        shape: Shape,
        dtype: DTypeLike,
        **options: object,
    ) -> Tensor:
        """An operation with one output of this shape and dtype."""
        return self.ops(code, inputs, [(shape, dtype)], **options)[0]

    def ops(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[tuple[Shape, DTypeLike]],
        **options: object,
    ) -> list[Tensor]:
        made = Operation(code, list(inputs), [], dict(options), FIRST_VERSIONS.get(code, 1), self.node)
        for tensor in inputs:
            if tensor is not None:
                tensor.consumers += 1
        for shape, dtype in outputs:
            dims = tuple(int(d) for d in shape)
            made.outputs.append(Tensor(self.fresh(self.hint), dims, np.dtype(dtype), producer=made))
        return made.outputs

    def unary(self, code: str, x: Tensor, **options: object) -> Tensor:
        return self.op(code, [x], x.shape, x.dtype, **options)

    def binary(
        self, code: str, a: Tensor, b: Tensor, dtype: DTypeLike | None = None, **options: object
    ) -> Tensor:
        """An elementwise operation with NumPy broadcasting."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        if code in ("ADD", "SUB"):
            options.setdefault("potScaleInt16", False)
        return self.op(code, [a, b], shape, a.dtype if dtype is None else dtype, **options)

    def add(self, a: Tensor, b: Tensor | float) -> Tensor:
        return self.binary("ADD", a, self._like(b, a))

    def sub(self, a: Tensor, b: Tensor | float) -> Tensor:
        return self.binary("SUB", a, self._like(b, a))

    def mul(self, a: Tensor, b: Tensor | float) -> Tensor:
        return self.binary("MUL", a, self._like(b, a))

    def div(self, a: Tensor, b: Tensor | float) -> Tensor:
        return self.binary("DIV", a, self._like(b, a))

    def maximum(self, a: Tensor, b: Tensor | float) -> Tensor:
        return self.binary("MAXIMUM", a, self._like(b, a))

    def minimum(self, a: Tensor, b: Tensor | float) -> Tensor:
        return self.binary("MINIMUM", a, self._like(b, a))

    def compare(self, code: str, a: Tensor, b: Tensor | float) -> Tensor:
        return self.binary(code, a, self._like(b, a), np.bool_)

    def select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
        return self.op("SELECT_V2", [condition, a, b], shape, a.dtype)

    def reshape(self, x: Tensor, shape: Shape) -> Tensor:
        """[...] -> `shape`. A reshape of a reshape is one reshape; one that changes nothing is none."""
        if x.data is not None:
            return self.constant(x.data.reshape(shape), hint=x.name)
        while x.producer is not None and x.producer.code == "RESHAPE" and x.producer.inputs[0] is not None:
            x = x.producer.inputs[0]
        if x.shape == shape:
            return x
        return self._reshape(x, shape)

    def copy(self, x: Tensor) -> Tensor:
        """The same values in a tensor of its own, for a graph output that would otherwise have two names."""
        return self._reshape(x, x.shape)

    def transpose(self, x: Tensor, perm: Perm) -> Tensor:
        """Axis i of the result is axis perm[i] of `x`. Where only axes of size 1 move, it is a reshape.

        If the batch is free it is none: that an axis is 1 now says nothing.
        """
        if perm == tuple(range(x.rank)):
            return x
        shape = tuple(x.shape[p] for p in perm)
        if x.data is not None:
            return self.constant(x.data.transpose(perm), hint=x.name)
        moved = [p for p in perm if x.shape[p] != 1]
        if moved == sorted(moved) and not self.free:
            return self.reshape(x, shape)
        if x.rank > 6:
            raise Unsupported(f"a transpose of {x.rank} axes; TFLite has 6", "reshape before transposing")
        return self.op("TRANSPOSE", [x, self.constant(perm, np.int32)], shape, x.dtype)

    def cast(self, x: Tensor, dtype: DTypeLike) -> Tensor:
        wanted = np.dtype(dtype)
        if x.dtype == wanted:
            return x
        if x.data is not None:
            return self.constant(x.data.astype(wanted), hint=x.name)
        return self.op("CAST", [x], x.shape, wanted)

    def reduce(self, code: str, x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
        kept = [(1 if i in axes else d) for i, d in enumerate(x.shape) if keepdims or i not in axes]
        return self.op(
            code, [x, self.constant(sorted(axes), np.int32)], tuple(kept), x.dtype, keepDims=keepdims
        )

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        if tuple(size) == x.shape:
            return x
        if self.free:
            return self._slice_but_whole_axes(x, begin, size)
        places = [self.constant(list(begin), np.int32), self.constant(list(size), np.int32)]
        return self.op("SLICE", [x, *places], tuple(size), x.dtype)

    def _slice_but_whole_axes(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        """Masks say which axes are taken whole, so that no constant holds the batch."""
        whole = [b == 0 and s == d for b, s, d in zip(begin, size, x.shape, strict=True)]
        mask = sum(1 << i for i, w in enumerate(whole) if w)
        first = [0 if w else b for w, b in zip(whole, begin, strict=True)]
        last = [0 if w else b + s for w, b, s in zip(whole, begin, size, strict=True)]
        places = [self.constant(p, np.int32) for p in (first, last, [1] * x.rank)]
        masks = {"beginMask": mask, "endMask": mask}
        return self.op("STRIDED_SLICE", [x, *places], tuple(size), x.dtype, **masks)

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(p.shape[axis] for p in parts)
        return self.op("CONCATENATION", parts, tuple(shape), parts[0].dtype, axis=axis)

    def broadcast(self, x: Tensor, shape: Shape) -> Tensor:
        if x.shape == shape:
            return x
        if x.data is not None:
            return self.constant(np.broadcast_to(x.data, shape), hint=x.name)
        return self.op("BROADCAST_TO", [x, self.constant(shape, np.int32)], shape, x.dtype)

    def fully_connected(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """[..., k] x weights [n, k] + bias [n] -> [..., n]. A constant times a constant is computed here."""
        if x.data is not None and weights.data is not None and (bias is None or bias.data is not None):
            made = x.data @ weights.data.T + (0 if bias is None or bias.data is None else bias.data)
            return self.constant(made, x.dtype)
        shape = (*x.shape[:-1], weights.shape[0])
        return self.op("FULLY_CONNECTED", [x, weights, bias], shape, x.dtype, keepNumDims=x.rank > 2)

    def matmul(self, a: Tensor, b: Tensor, *, adj_x: bool = False, adj_y: bool = False) -> Tensor:
        """Batched matrix product, both of rank >= 2; `adj` transposes the last two axes."""
        rows = a.shape[-1] if adj_x else a.shape[-2]
        columns = b.shape[-2] if adj_y else b.shape[-1]
        shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns)
        return self.op("BATCH_MATMUL", [a, b], shape, a.dtype, adjX=adj_x, adjY=adj_y)

    def _like(self, value: Tensor | float, like: Tensor) -> Tensor:
        return value if isinstance(value, Tensor) else self.constant(value, like.dtype)

    def _reshape(self, x: Tensor, shape: Shape) -> Tensor:
        if math.prod(x.shape) != math.prod(shape):
            raise Unsupported(f"{x.shape} cannot be reshaped to {shape}", "correct the model's shapes")
        return self.op("RESHAPE", [x, self.constant(shape, np.int32)], shape, x.dtype)


def fuse_activation(x: Tensor, activation: str) -> bool:
    """Let the operation that makes `x` apply `activation`; False when it cannot. See `Graph.changeable`."""
    made = x.producer
    if (
        made is None
        or made.code not in FUSES_RELU
        or x.dtype != np.float32
        or made.options.get("fusedActivationFunction", "NONE") != "NONE"
    ):
        return False
    made.options["fusedActivationFunction"] = activation
    return True
