"""Reading a .tflite file that nobody vouches for: bounds first, then what it holds.

The interpreter is C++ and trusts the flatbuffer. So before it sees a file, every table that we use is
walked here with a budget of steps, every index is checked against what it points into, and every constant
against its tensor's shape and type. Custom operations and Flex (TensorFlow) operations are refused.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sprue.errors import CheckError
from sprue.graph import TensorSpec

from .flatbuffer import FILE_IDENTIFIER, TENSOR_TYPES, schema

MAX_RANK = 8
MAX_ELEMENTS = 1 << 31
REMEDY = "fetch or build the artifact again"
WEIGHT_TYPES = frozenset({"float32", "float16", "int8"})


@dataclass(frozen=True)
class Contents:
    """What is in a .tflite file. Counts of operations by name; weights in elements."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operations: dict[str, int]
    tensors: int
    weights: dict[str, int] = field(default_factory=dict)

    @property
    def quantized_fraction(self) -> float:
        """The part of the weights' elements that is stored in 8 bits."""
        return self.weights.get("int8", 0) / max(sum(self.weights.values()), 1)


def contents(data: bytes, where: str) -> Contents:
    """Walk a .tflite file. Raises CheckError when it is damaged or asks for operations that we refuse."""
    try:
        return _Reader(data, where).contents()
    except CheckError:
        raise
    except Exception as error:  # flatbuffers reads out of bounds by raising whatever the bytes lead to
        raise _damaged(where, f"{type(error).__name__}: {error}") from error


def _damaged(where: str, what: str) -> CheckError:
    return CheckError(f"not a TFLite model, or a damaged one ({what})", where=where, remedy=REMEDY)


class _Reader:
    """One walk over one file; every vector's length is paid for from a budget that the file's size sets."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where
        self.budget = 4 * len(data) + 1000
        s = schema()
        self.types = {getattr(s.TensorType, v): k for k, v in TENSOR_TYPES.items()}
        self.codes = {v: k for k, v in vars(s.BuiltinOperator).items() if isinstance(v, int)}

    def need(self, true: bool, what: str) -> None:
        if not true:
            raise _damaged(self.where, what)

    def many(self, count: int, size: int, what: str) -> range:
        """The indices of a vector, after a look at whether the file can hold it."""
        self.need(0 <= count * size <= len(self.data), f"{what}: more than the file holds")
        self.budget -= count + 1
        self.need(self.budget > 0, f"{what}: nested too deep")
        return range(count)

    def contents(self) -> Contents:
        self.need(len(self.data) >= 64 and self.data[4:8] == FILE_IDENTIFIER, "no TFL3 mark")
        model = schema().Model.GetRootAs(self.data, 0)
        self.need(model.Version() == 3, f"schema version {model.Version()}")
        self.need(model.SubgraphsLength() == 1, "not one subgraph")
        codes = self._codes(model)
        graph = model.Subgraphs(0)
        lengths = self._buffers(model)
        specs, constant, weights = self._tensors(graph, lengths)
        used = self._operations(graph, codes, len(specs))
        borders = [self._border(graph, side, specs, constant) for side in ("Inputs", "Outputs")]
        self._signatures(model, len(specs))
        self._metadata(model, len(lengths))
        return Contents(borders[0], borders[1], dict(sorted(used.items())), len(specs), weights)

    def _codes(self, model: Any) -> list[str]:
        made = []
        for i in self.many(model.OperatorCodesLength(), 4, "operator codes"):
            code = model.OperatorCodes(i)
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            name = self.codes.get(number)
            custom = code.CustomCode()
            if name in (None, "CUSTOM", "DELEGATE") or custom is not None:
                named = custom.decode(errors="replace") if custom else number
                raise CheckError(
                    f"the operation {named} is no TFLite builtin",
                    where=self.where,
                    remedy="sprue runs builtin operations only: no custom and no Flex operations",
                )
            made.append(str(name))
        return made

    def _buffers(self, model: Any) -> list[int]:
        lengths = []
        for i in self.many(model.BuffersLength(), 4, "buffers"):
            buffer = model.Buffers(i)
            self.need(buffer.Offset() <= 1 and buffer.Size() <= 1, "a buffer outside the flatbuffer")
            length = buffer.DataLength()
            if length:
                start = buffer._tab.Vector(buffer._tab.Offset(4))
                self.need(start > 0 and start + length <= len(self.data), "a buffer past the end of the file")
                self.need(start % 16 == 0, "a buffer that is not aligned")
            lengths.append(length)
        return lengths

    def _tensors(self, graph: Any, lengths: list[int]) -> tuple[list[TensorSpec], list[bool], dict[str, int]]:
        specs, constant = [], []
        weights: Counter[str] = Counter()
        seen: set[int] = set()
        for i in self.many(graph.TensorsLength(), 4, "tensors"):
            tensor = graph.Tensors(i)
            rank = tensor.ShapeLength()
            self.need(rank <= MAX_RANK, "a tensor of too many axes")
            shape = tuple(tensor.Shape(k) for k in self.many(rank, 4, "a shape"))
            self.need(all(d >= 0 for d in shape) and math.prod(shape) < MAX_ELEMENTS, "an impossible shape")
            self._free_axes(tensor, shape)
            kind = self.types.get(tensor.Type())
            self.need(kind is not None, f"tensor type {tensor.Type()}")
            self.need(tensor.SparsityLength() == 0 if hasattr(tensor, "SparsityLength") else True, "sparsity")
            self.need(0 <= tensor.Buffer() < max(len(lengths), 1), "a tensor without its buffer")
            dtype = _dtype(str(kind))
            held = lengths[tensor.Buffer()]
            self.need(
                held in (0, math.prod(shape) * dtype.itemsize), "a constant of another size than its shape"
            )
            self._quantization(tensor, shape)
            name = (tensor.Name() or b"").decode()
            specs.append(TensorSpec(name, dtype, shape))
            constant.append(held > 0)
            if held and dtype.name in WEIGHT_TYPES and tensor.Buffer() not in seen:
                seen.add(tensor.Buffer())
                weights[dtype.name] += math.prod(shape)
        return specs, constant, dict(sorted(weights.items()))

    def _free_axes(self, tensor: Any, shape: tuple[int, ...]) -> None:
        """`shape_signature` is the shape, with -1 where an application may resize it; or absent."""
        count = tensor.ShapeSignatureLength()
        free = tuple(tensor.ShapeSignature(k) for k in self.many(count, 4, "a signature of a shape"))
        same = len(free) == len(shape) and all(a in (-1, d) for a, d in zip(free, shape, strict=True))
        self.need(not free or same, "a signature of another shape")

    def _metadata(self, model: Any, buffers: int) -> None:
        """What it says is for people and never read here; the runtime follows its index."""
        for i in self.many(model.MetadataLength(), 4, "metadata"):
            self.need(0 <= model.Metadata(i).Buffer() < buffers, "metadata without their buffer")

    def _quantization(self, tensor: Any, shape: tuple[int, ...]) -> None:
        q = tensor.Quantization()
        if q is None or q.ScaleLength() == 0:
            return
        count = q.ScaleLength()
        self.many(count, 4, "scales")
        self.need(q.ZeroPointLength() == count, "scales and zero points that differ in number")
        axis = q.QuantizedDimension()
        self.need(count == 1 or (0 <= axis < len(shape) and shape[axis] == count), "scales for another axis")
        scales = q.ScaleAsNumpy()
        self.need(bool((np.isfinite(scales) & (scales > 0)).all()), "a scale that is not positive")

    def _operations(self, graph: Any, codes: list[str], tensors: int) -> Counter[str]:
        used: Counter[str] = Counter()
        for i in self.many(graph.OperatorsLength(), 4, "operations"):
            operation = graph.Operators(i)
            self.need(0 <= operation.OpcodeIndex() < len(codes), "an operation without its code")
            for k in self.many(operation.InputsLength(), 4, "inputs"):
                self.need(-1 <= operation.Inputs(k) < tensors, "an input that is no tensor")
            for k in self.many(operation.OutputsLength(), 4, "outputs"):
                self.need(0 <= operation.Outputs(k) < tensors, "an output that is no tensor")
            used[codes[operation.OpcodeIndex()]] += 1
        return used

    def _border(
        self, graph: Any, side: str, specs: list[TensorSpec], constant: list[bool]
    ) -> tuple[TensorSpec, ...]:
        made = []
        for k in self.many(getattr(graph, f"{side}Length")(), 4, side):
            index = getattr(graph, side)(k)
            self.need(0 <= index < len(specs), f"{side}: no tensor")
            self.need(not (side == "Inputs" and constant[index]), "an input that is constant")
            made.append(specs[index])
        self.need(len({s.name for s in made}) == len(made), f"{side}: a name stands twice")
        self.need(side == "Inputs" or bool(made), "no outputs")
        return tuple(made)

    def _signatures(self, model: Any, tensors: int) -> None:
        for i in self.many(model.SignatureDefsLength(), 4, "signatures"):
            signature = model.SignatureDefs(i)
            self.need(signature.SubgraphIndex() == 0, "a signature of another subgraph")
            for side in ("Inputs", "Outputs"):
                for k in self.many(getattr(signature, f"{side}Length")(), 4, "a signature"):
                    index = getattr(signature, side)(k).TensorIndex()
                    self.need(0 <= index < tensors, "a signature without its tensor")


def _dtype(name: str) -> np.dtype[np.generic]:
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)
