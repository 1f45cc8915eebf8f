"""Any number of samples at a time, where the graph allows it.

A graph is lowered for one sample, so that interpreters plan their memory at once. If the model's batch axis
is free, it is lowered for many as well, and the two are held against each other: where they differ in nothing
but the batch in the shapes that RESHAPE is given, -1 takes its place there, and the borders say that their
axis 0 is free (`shape_signature`). Then `resize_tensor_input` takes any number; without it the file is what
it was. Where they differ in more, both are lowered again to what is right for all: a transpose is one even if
only axes of size 1 move, a slice names no axis that it takes whole, and an LSTM's state follows the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .emit import Array, Operation, Tensor
from .flatbuffer import reachable

if TYPE_CHECKING:
    from .lower import Lowered

FREE = -1
MANY = 1009
"""Samples: a prime beyond the sizes and limits that graphs have, so that nothing else looks like it."""


class _Held(Exception):
    """Says why a file is for one sample at a time."""


def free_batch(one: Lowered, many: Lowered) -> str:
    """Change the graph for one sample so that it takes any number. Returns why not, "" if it does.

    `one` is changed only if all of it can be.
    """
    try:
        changes = _changes(reachable(one.outputs), reachable(many.outputs))
        borders = _borders(one, many)
    except _Held as held:
        return str(held)
    for operation, index, shape in changes:
        given = operation.inputs[index]
        assert given is not None
        name = f"{operation.outputs[0].name}/shape"
        operation.inputs[index] = Tensor(name, shape.shape, shape.dtype, shape)
    for tensor in borders:
        tensor.signature = (FREE, *tensor.shape[1:])
    return ""


def _changes(ones: list[Operation], manys: list[Operation]) -> list[tuple[Operation, int, Array]]:
    """(operation, input, the shape or size that it gets), for all that differ."""
    if [o.code for o in ones] != [o.code for o in manys]:
        raise _Held("more samples take other operations than one")
    found = []
    for one, many in zip(ones, manys, strict=True):
        place = f"{one.code} of node '{one.node}'"
        if one.options != many.options or one.version != many.version:
            raise _Held(f"{place} has options that depend on the number of samples")
        if any(t.variable for t in one.outputs) and all(t is None or t.data is not None for t in one.inputs):
            raise _Held(f"{place} makes a state for one sample")
        for index, (a, b) in enumerate(zip(one.inputs, many.inputs, strict=True)):
            if (a is None or a.data is None) != (b is None or b.data is None):
                raise _Held(f"{place} has a constant for one sample only")
            if a is None or b is None or a.data is None or b.data is None or a is b:
                continue
            if a.shape != b.shape or not np.array_equal(a.data, b.data, equal_nan=a.data.dtype.kind == "f"):
                found.append((one, index, _freed(one, index, a, b, place)))
    return found


def _freed(one: Operation, index: int, a: Tensor, b: Tensor, place: str) -> Array:
    """The shape with -1 in the one place that grows with the batch."""
    assert a.data is not None
    assert b.data is not None
    shaped = (one.code, index) == ("RESHAPE", 1) and a.shape == b.shape
    differ = np.flatnonzero(a.data != b.data) if shaped else np.zeros(0, np.int64)
    if not shaped or len(differ) != 1 or (a.data < 0).any() or b.data[differ[0]] != MANY * a.data[differ[0]]:
        raise _Held(f"{place} has the number of samples in a constant")
    freed = a.data.copy()
    freed[differ[0]] = FREE
    return freed


def _borders(one: Lowered, many: Lowered) -> list[Tensor]:
    """The inputs and outputs, if it is axis 0 of each that grows with the batch, and nothing else."""
    pairs = [*zip((*one.inputs, *one.outputs), (*many.inputs, *many.outputs), strict=True)]
    for a, b in pairs:
        if not a.shape or b.shape != (MANY * a.shape[0], *a.shape[1:]):
            raise _Held(f"'{a.name}' has no axis of samples")
    return [a for a, _ in pairs]
