"""The graph as the C backend sees it, and the steps that operators are lowered to.

A `Graph` is ONNX with every shape known and QDQ pairs folded into the nodes between them. An operator lowers
one `Node` to `Step`s: calls of C functions rendered from a template, or an alias where nothing is to be done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sprue.graph import Attributed

Array = NDArray[np.generic]


class Unsupported(Exception):
    """Raised by a lowering: this node cannot be expressed. Becomes a Finding that names the node."""

    def __init__(
        self, reason: str, remedy: str = "replace it by other operators, or build for another target"
    ):
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Value:
    """Dtype and shape of a tensor; every dimension is known."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.itemsize


def integer_limits(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """The smallest and the largest number that an integer dtype holds."""
    limits = np.iinfo(dtype.name)
    return int(limits.min), int(limits.max)


def usable(scale: Array) -> bool:
    """Whether a quantization scale can be divided by: processors flush what is subnormal to zero."""
    return bool(np.isfinite(scale).all() and np.greater_equal(scale, np.finfo(np.float32).tiny).all())


@dataclass(frozen=True)
class Quant:
    """real = (stored - zero) * scale. `scale` float32 and `zero` int32: both scalars [], or both [channels].

    `axis` is the channel axis where they are not scalars.
    """

    scale: NDArray[np.float32]
    zero: NDArray[np.int32]
    dtype: np.dtype[np.generic]
    axis: int = 0

    @property
    def per_tensor(self) -> bool:
        return self.scale.ndim == 0

    @property
    def low(self) -> int:
        return integer_limits(self.dtype)[0]

    @property
    def high(self) -> int:
        return integer_limits(self.dtype)[1]

    def same(self, other: Quant) -> bool:
        """Whether a stored number means the same in both; both are per tensor."""
        return self.dtype == other.dtype and bool(self.scale == other.scale and self.zero == other.zero)


@dataclass(frozen=True)
class Clamp:
    """A fused Relu or Clip: the result is limited to low..high; None: no limit on that side."""

    low: float | None
    high: float | None


class Attributes(Mapping[str, object]):
    """A node's attributes, which remembers the ones that were asked for.

    What no lowering asked for was not obeyed: such a node is refused, never computed without it.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._asked: set[str] = set()

    def __getitem__(self, name: str) -> object:
        self._asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def unread(self) -> list[str]:
        return sorted(set(self._values) - self._asked)


@dataclass(frozen=True)
class Node(Attributed):
    """One operator.

    `clamp`: a fused activation. `quants`: input position -> quantization of that input, which is then the
    stored integer tensor; `result`: quantization of output 0, likewise.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    clamp: Clamp | None = None
    quants: Mapping[int, Quant] = field(default_factory=dict)
    result: Quant | None = None

    refusal: ClassVar[type[Exception]] = Unsupported

    @property
    def quantized(self) -> bool:
        return bool(self.quants) or self.result is not None

    def ignore(self, *names: str) -> None:
        """Attributes that change nothing here: repeated by a shape, or about training only."""
        for name in names:
            self.attributes.get(name)

    def has(self, position: int) -> bool:
        return position < len(self.inputs) and self.inputs[position] != ""


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order; `values` holds every tensor, `constants` those known at build time.

    `fixed_point`: multiply the sums of 8-bit tensors by integers, for a processor without floats.
    `vectors`: for a processor that multiplies sixteen bytes at once. `registers`: for one with many registers
    and no instruction for pairs. `scalable`: for one with vectors of any length. `lanes`: float32 numbers in
    a vector.
    """

    name: str
    opset: int
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fixed_point: bool = False
    vectors: bool = False
    registers: bool = False
    scalable: bool = False
    lanes: int = 1

    def value(self, name: str) -> Value:
        try:
            return self.values[name]
        except KeyError:
            raise Unsupported(
                f"the shape of the tensor '{name}' is not known at build time",
                "fix every dimension but the batch when the model is exported",
            ) from None

    def constant(self, node: Node, position: int, meaning: str) -> Array:
        """The constant input of `node` at `position`. Raises Unsupported when it is computed at run time."""
        name = node.inputs[position]
        if name not in self.constants:
            raise Unsupported(
                f"its {meaning} ('{name}') is computed at run time; C needs static shapes",
                f"export the model with a constant {meaning}",
            )
        return self.constants[name]

    def producers(self) -> dict[str, Node]:
        return {o: n for n in self.nodes for o in n.outputs if o}

    def readers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found.setdefault(name, []).append(node)
        return found


@dataclass(frozen=True)
class Read:
    """A pointer to a tensor that is read: in the arena, or in flash when it is a constant."""

    name: str


@dataclass(frozen=True)
class Write:
    """A pointer to a tensor in the arena. `value` declares a temporary that the graph does not know."""

    name: str
    value: Value | None = None


@dataclass(frozen=True, eq=False)
class Flash:
    """A pointer to constant data made at build time, such as packed weights."""

    data: Array
    hint: str


@dataclass(frozen=True)
class Scratch:
    """A pointer to memory that is free again after the call; aligned to 4 bytes."""

    bytes: int


Argument = Read | Write | Flash | Scratch


@dataclass(frozen=True)
class Call:
    """One call of a C function rendered from `template` with `params`, which bake in shapes and scales.

    `reuse` holds (output, input) pairs that may lie at the same address: the kernel never writes a place
    before it has read what lay there.
    """

    template: str
    params: Mapping[str, object]
    arguments: tuple[Argument, ...]
    reuse: tuple[tuple[str, str], ...] = ()

    @property
    def scratch(self) -> int:
        return sum(a.bytes for a in self.arguments if isinstance(a, Scratch))


@dataclass(frozen=True)
class Alias:
    """`output` is `input` under another name or shape: no code, no memory."""

    output: str
    input: str


Step = Call | Alias
