"""Operators on the bits of integers, by what TFLite has of up to 32 bits: BITWISE_XOR and RIGHT_SHIFT.

Sums give the others: a + b = (a xor b) + 2 (a and b). It is computed in int32 on 16 bits at a time, so that
no sum leaves it, and integers of 64 bits are looked at as two of 32 (BITCAST), the lower one first.
"""

from __future__ import annotations

import numpy as np

from ..emit import Perm, Tensor, Unsupported
from ..flatbuffer import TENSOR_TYPES
from ..layout import Graph, Laid
from ..registry import Node, lowers
from .elementwise import MAX_BROADCAST_RANK

HALF = 16


@lowers("BitCast")
def bit_cast(g: Graph, node: Node) -> Laid:
    """The same bits under another type of the same width."""
    value, wanted = node.input(0), node.outputs[0].dtype
    perm, x = g.held(value)
    if wanted.name not in TENSOR_TYPES:
        raise Unsupported(f"{wanted.name}, of which TFLite has no tensors", "use another type")
    return _seen_as(g, x, wanted), perm


def _seen_as(g: Graph, x: Tensor, dtype: np.dtype[np.generic]) -> Tensor:
    if x.dtype == dtype:
        return x
    if x.data is not None:
        return g.constant(x.data.view(dtype), hint=x.name)
    return g.op("BITCAST", [x], x.shape, dtype)


def _halves(g: Graph, x: Tensor, dtype: np.dtype[np.generic]) -> Tensor:
    """[...] of 64 bits -> [..., 2] of 32."""
    if x.data is not None:
        return g.constant(np.ascontiguousarray(x.data)[..., None].view(dtype), hint=x.name)
    return g.op("BITCAST", [x], (*x.shape, 2), dtype)


def _operands(g: Graph, node: Node) -> tuple[list[Tensor], Perm]:
    tensors, perm = g.alike(node.present())
    wide = node.input(0).dtype.itemsize == 8
    shapes = {t.shape for t in tensors if t.rank}
    if len(shapes) > 1 and max(map(len, shapes)) + wide > MAX_BROADCAST_RANK:
        raise Unsupported(f"broadcasting over {len(perm)} axes; TFLite has {MAX_BROADCAST_RANK - wide}")
    return tensors, perm


@lowers("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
def bitwise(g: Graph, node: Node) -> Laid:
    tensors, perm = _operands(g, node)
    dtype = node.input(0).dtype
    if node.op == "BitwiseNot":
        tensors = [*tensors, g.constant(np.invert(np.zeros((), dtype)))]
    if dtype.itemsize < 8:
        return _combined(g, node.op, *tensors), perm
    low = np.dtype(np.int32)
    made = _combined(g, node.op, *(_halves(g, t, low) for t in tensors))
    return g.op("BITCAST", [made], made.shape[:-1], dtype), perm


def _combined(g: Graph, op: str, a: Tensor, b: Tensor) -> Tensor:
    if op in ("BitwiseXor", "BitwiseNot"):
        return g.binary("BITWISE_XOR", a, b)
    both = _and(g, a, b)
    return both if op == "BitwiseAnd" else g.binary("BITWISE_XOR", g.binary("BITWISE_XOR", a, b), both)


def _and(g: Graph, a: Tensor, b: Tensor) -> Tensor:
    dtype, wide = a.dtype, np.dtype(np.int32)
    if dtype.itemsize < 4:
        return g.cast(_and_of_halves(g, g.cast(a, wide), g.cast(b, wide)), dtype)
    (high, low), (other_high, other_low) = (_parted(g, _seen_as(g, t, wide)) for t in (a, b))
    made = g.mul(_and_of_halves(g, high, other_high), 1 << HALF)
    return _seen_as(g, g.add(made, _and_of_halves(g, low, other_low)), dtype)


def _parted(g: Graph, x: Tensor) -> tuple[Tensor, Tensor]:
    """The upper half with its sign, and the lower one without."""
    high = g.binary("RIGHT_SHIFT", x, g.constant(HALF, x.dtype))
    return high, g.sub(x, g.mul(high, 1 << HALF))


def _and_of_halves(g: Graph, a: Tensor, b: Tensor) -> Tensor:
    twice = g.sub(g.add(a, b), g.binary("BITWISE_XOR", a, b))
    return g.binary("RIGHT_SHIFT", twice, g.constant(1, twice.dtype))


@lowers("BitShift")
def bit_shift(g: Graph, node: Node) -> Laid:
    """A shift by the width or more, or by a negative number, leaves 0; to the right -1 of a negative one.

    RIGHT_SHIFT limits the shift to the width less one. To the left is a product with a power of two from a
    table, in int64, whose low bits a cast keeps.
    """
    (a, b), perm = _operands(g, node)
    dtype = node.input(0).dtype
    bits = 8 * dtype.itemsize
    wide = _seen_as(g, b, np.dtype(np.int64)) if dtype.name == "uint64" else g.cast(b, np.int64)
    over = g.binary("LOGICAL_OR", g.compare("LESS", wide, 0), g.compare("GREATER_EQUAL", wide, bits))
    if node.text("direction") == "LEFT":
        return _to_the_left(g, a, g.select(over, g.constant(bits, np.int64), wide), bits), perm
    if bits == 64:
        return _wide_to_the_right(g, a, wide, over), perm
    if dtype.kind == "u":
        moved = g.cast(g.binary("RIGHT_SHIFT", a, g.cast(g.minimum(wide, bits - 1), dtype)), np.int64)
        return g.cast(g.select(over, g.constant(0, np.int64), moved), dtype), perm
    by = g.cast(g.select(over, g.constant(bits - 1, np.int64), wide), dtype)
    return g.binary("RIGHT_SHIFT", a, by), perm


def _to_the_left(g: Graph, a: Tensor, by: Tensor, bits: int) -> Tensor:
    """`by`: int64 from 0 to `bits`."""
    table = g.constant(np.array([*(1 << i for i in range(bits)), 0], np.uint64).view(np.int64))
    power = g.op("GATHER", [table, by], by.shape, np.int64, axis=0)
    if bits < 64:
        return g.cast(g.mul(g.cast(a, np.int64), power), a.dtype)
    return _seen_as(g, g.mul(_seen_as(g, a, np.dtype(np.int64)), power), a.dtype)


def _wide_to_the_right(g: Graph, a: Tensor, by: Tensor, over: Tensor) -> Tensor:
    """In two halves: by less than 32 the lower one gets what the upper one loses; by more it is the upper."""
    signed = a.dtype.kind == "i"
    half = np.dtype(np.int32 if signed else np.uint32)
    pair = _halves(g, a, half)
    low, high = (g.reshape(g.slice(pair, [0] * a.rank + [i], [*a.shape, 1]), a.shape) for i in (0, 1))
    by = g.cast(g.select(over, g.constant(63, np.int64), by), np.int32)
    beyond = g.compare("GREATER_EQUAL", by, 32)
    near = g.cast(g.select(beyond, g.sub(by, 32), by), half)
    table = g.constant(np.array([0, *(1 << 32 - i for i in range(1, 32))], np.uint32).view(np.int32))
    power = g.op("GATHER", [table, g.cast(near, np.int32)], near.shape, np.int32, axis=0)
    moved = g.binary("RIGHT_SHIFT", high, near)
    carried = g.mul(_seen_as(g, high, np.dtype(np.int32)), power)
    fell = g.binary("RIGHT_SHIFT", _seen_as(g, low, np.dtype(np.uint32)), g.cast(near, np.uint32))
    joined = g.add(_seen_as(g, fell, np.dtype(np.int32)), carried)
    sign = g.binary("RIGHT_SHIFT", high, g.constant(31, half)) if signed else g.constant(0, np.int32)
    upper = _seen_as(g, moved, np.dtype(np.int32))
    low, high = g.select(beyond, upper, joined), g.select(beyond, sign, upper)
    shape = high.shape
    low, high = (g.reshape(g.broadcast(t, shape), (*shape, 1)) for t in (low, high))
    made = g.op("BITCAST", [g.concat([low, high], len(shape))], shape, a.dtype)
    if signed:
        return made
    zero = g.constant(0, np.int64)
    return _seen_as(g, g.select(over, zero, _seen_as(g, made, np.dtype(np.int64))), a.dtype)
