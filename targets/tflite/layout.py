"""ONNX values and the axis orders in which they are held.

ONNX images are NCHW, TFLite kernels want NHWC. Instead of writing transposes and cancelling them afterwards,
a value remembers every order in which some tensor holds it: a convolution leaves its result in NHWC, an
elementwise operation takes what is there, and an ONNX Transpose is only a new name for the same tensor. A
TRANSPOSE is written the first time that somebody asks for an order nobody made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .emit import Array, Emitter, Perm, Shape, Tensor

Laid = tuple[Tensor, Perm]
"""A tensor and the order it is in: its axis i holds ONNX axis perm[i]."""


def identity(rank: int) -> Perm:
    return tuple(range(rank))


def channels_last(rank: int) -> Perm:
    """(0, 2, 3, 1) for rank 4."""
    return (0, *range(2, rank), 1)


def inverse(perm: Perm) -> Perm:
    return tuple(perm.index(i) for i in range(len(perm)))


@dataclass(eq=False)
class Value:
    """An ONNX value while it is lowered. `uses` counts its readers, graph outputs included."""

    name: str
    shape: Shape
    dtype: np.dtype[np.generic]
    const: Array | None = None
    uses: int = 1
    views: dict[Perm, Tensor] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        return len(self.shape)


class Graph(Emitter):
    """An emitter that also knows ONNX values."""

    def tensor(self, value: Value) -> Tensor:
        """The value in ONNX's own order."""
        return self.view(value, identity(value.rank))

    def view(self, value: Value, perm: Perm) -> Tensor:
        """The value in this order, transposed now if nobody did before."""
        if perm not in value.views:
            if value.const is not None:
                made = self.constant(value.const.transpose(perm), hint=value.name)
            else:
                held, tensor = next(iter(value.views.items()))
                made = self.transpose(tensor, tuple(held.index(axis) for axis in perm))
            value.views[perm] = made
        return value.views[perm]

    def held(self, value: Value) -> tuple[Perm, Tensor]:
        """The value in an order in which it is there; what is constant may still have none."""
        if not value.views:
            self.tensor(value)
        return next(iter(value.views.items()))

    def changeable(self, value: Value) -> Laid | None:
        """The only tensor of a value that nobody else reads or will read, and its order; else None.

        Then the operation that makes it may do the reader's work as well: apply its activation, add its bias.
        """
        if value.const is not None or value.uses != 1 or len(value.views) != 1:
            return None
        perm, tensor = next(iter(value.views.items()))
        if tensor.consumers or tensor.holders != 1 or tensor.producer is None:
            return None
        return tensor, perm

    def alike(self, values: Sequence[Value]) -> tuple[list[Tensor], Perm]:
        """The values in one common order for an elementwise operation that broadcasts, and that order."""
        rank = max(v.rank for v in values)
        perm = self._cheapest(values, rank)
        return [self.aligned(v, perm) for v in values], perm

    def aligned(self, value: Value, perm: Perm) -> Tensor:
        """The value in the order of a tensor of `perm`, with leading axes of size 1 where it has fewer."""
        rank = len(perm)
        if value.rank == rank:
            return self.view(value, perm)
        if perm == identity(rank):
            return self.tensor(value)
        full = (1,) * (rank - value.rank) + value.shape
        if value.const is not None:
            return self.constant(value.const.reshape(full).transpose(perm), hint=value.name)
        return self.transpose(self.reshape(self.tensor(value), full), perm)

    def _cheapest(self, values: Sequence[Value], rank: int) -> Perm:
        """The order that needs the fewest elements transposed."""
        runtime = [v for v in values if v.const is None and v.rank == rank]
        if not runtime:
            return identity(rank)
        orders = dict.fromkeys(p for v in runtime for p in v.views)

        def moved(perm: Perm) -> int:
            return sum(int(np.prod(v.shape)) for v in runtime if perm not in v.views)

        return min(orders, key=moved)
