"""Loops over strided tensors: the fewest nested loops that visit every element.

Dimensions of size 1 vanish, and neighbours that are contiguous for every operand merge, so that most
elementwise nodes become one flat loop and a transpose as few loops as it can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shape = Sequence[int]


@dataclass(frozen=True)
class Loop:
    """`count` rounds; `strides`: elements that each operand moves per round."""

    count: int
    strides: tuple[int, ...]


def contiguous(shape: Shape) -> tuple[int, ...]:
    """Row-major strides in elements."""
    made: list[int] = []
    step = 1
    for size in reversed(shape):
        made.append(step)
        step *= size
    return tuple(reversed(made))


def broadcast(shape: Shape, target: Shape) -> tuple[int, ...]:
    """Strides that walk a tensor of `shape` as if it had been broadcast to `target` (numpy's rule)."""
    padded = [1] * (len(target) - len(shape)) + list(shape)
    strides = contiguous(padded)
    return tuple(0 if size == 1 else stride for size, stride in zip(padded, strides, strict=True))


def loops(shape: Shape, strides: Sequence[Sequence[int]]) -> tuple[Loop, ...]:
    """The loops over `shape`, outermost first. `strides` holds one row per operand. Never empty."""
    merged: list[Loop] = []
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        inner = Loop(size, tuple(s[axis] for s in strides))
        outer = merged[-1] if merged else None
        if outer is not None and all(
            o == i * size for o, i in zip(outer.strides, inner.strides, strict=True)
        ):
            merged[-1] = Loop(outer.count * size, inner.strides)
        else:
            merged.append(inner)
    return tuple(merged) or (Loop(1, tuple(0 for _ in strides)),)


def index(nest: Sequence[Loop], operand: int, start: int = 0) -> str:
    """The C expression of an operand's element index in loop variables i0, i1, ..."""
    terms = [
        f"i{level}" if loop.strides[operand] == 1 else f"i{level} * {_stride(loop.strides[operand])}"
        for level, loop in enumerate(nest)
        if loop.strides[operand] != 0 and loop.count > 1
    ]
    if start or not terms:
        terms.append(str(start))
    return " + ".join(terms)


def _stride(value: int) -> str:
    return f"({value})" if value < 0 else str(value)
