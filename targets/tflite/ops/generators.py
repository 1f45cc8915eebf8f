"""Operators that make their output from little or no input, and masks."""

from __future__ import annotations

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph, Laid
from ..registry import Node, computable, lowers
from .indexing import narrowed

SELECTABLE = frozenset({"float32", "int32", "int64", "int16", "int8", "uint8", "bool"})


@lowers("ConstantOfShape")
def constant_of_shape(g: Graph, node: Node) -> Tensor:
    """The output's shape is known even where the input that says it is computed."""
    from onnx import TensorProto, numpy_helper

    given = node.attributes.get("value")
    value = numpy_helper.to_array(given).reshape(()) if isinstance(given, TensorProto) else np.float32(0)
    return g.constant(np.full(node.outputs[0].shape, value, node.outputs[0].dtype))


@lowers("EyeLike")
def eye_like(g: Graph, node: Node) -> Tensor:
    rows, columns = node.outputs[0].shape
    return g.constant(np.eye(rows, columns, node.integer("k"), dtype=node.outputs[0].dtype))


@lowers("Range")
def range_(g: Graph, node: Node) -> Tensor:
    out = node.outputs[0]
    dtype = computable(out.dtype, frozenset({"float32", "int32", "int64"}))
    inputs = [g.reshape(g.cast(g.tensor(node.input(i)), dtype), ()) for i in range(3)]
    return g.cast(g.op("RANGE", inputs, out.shape, dtype), out.dtype)


@lowers("Trilu")
def trilu(g: Graph, node: Node) -> Tensor:
    """A constant of (column - row) is compared with k, which may be computed."""
    value = node.input(0)
    if value.rank < 2:
        raise Unsupported(f"a triangle of rank {value.rank}", "correct the model")
    rows, columns = value.shape[-2:]
    offset = g.constant(np.arange(columns)[None, :] - np.arange(rows)[:, None], np.int32)
    k = node.optional(1)
    bound = g.constant(0, np.int32) if k is None else g.reshape(narrowed(g, g.tensor(k)), ())
    kept = g.compare("GREATER_EQUAL" if node.integer("upper", 1) else "LESS_EQUAL", offset, bound)
    x = g.cast(g.tensor(value), computable(value.dtype, SELECTABLE))
    return g.cast(g.select(kept, x, g.constant(0, x.dtype)), value.dtype)


@lowers("BitShift")
def bit_shift(g: Graph, node: Node) -> Laid:
    """A shift by the width or more, or by a negative number, leaves 0; to the right -1 of a negative one.

    RIGHT_SHIFT limits the shift to the width less one. To the left is a product with a power of two from a
    table, in int64, whose low bits a cast keeps.
    """
    value = node.input(0)
    dtype = value.dtype
    if dtype.name not in ("uint8", "uint16", "uint32", "int8", "int16", "int32"):
        raise Unsupported(f"a shift of {dtype.name}", "use 32 bits or fewer")
    (a, b), perm = g.alike(node.present())
    bits = 8 * dtype.itemsize
    wide = g.cast(b, np.int64)
    over = g.binary("LOGICAL_OR", g.compare("LESS", wide, 0), g.compare("GREATER_EQUAL", wide, bits))
    if node.text("direction") == "LEFT":
        index = g.select(over, g.constant(bits, np.int64), wide)
        table = g.constant([*(1 << i for i in range(bits)), 0], np.int64)
        power = g.op("GATHER", [table, index], index.shape, np.int64, axis=0)
        return g.cast(g.mul(g.cast(a, np.int64), power), dtype), perm
    if dtype.kind == "u":
        moved = g.cast(g.binary("RIGHT_SHIFT", a, g.cast(g.minimum(wide, bits - 1), dtype)), np.int64)
        return g.cast(g.select(over, g.constant(0, np.int64), moved), dtype), perm
    return g.binary(
        "RIGHT_SHIFT", a, g.cast(g.select(over, g.constant(bits - 1, np.int64), wide), dtype)
    ), perm


@lowers("BitwiseXor", "BitwiseNot")
def bitwise_xor(g: Graph, node: Node) -> Laid:
    tensors, perm = g.alike(node.present())
    dtype = node.input(0).dtype
    if dtype.name not in ("uint8", "uint16", "uint32", "int8", "int16", "int32"):
        raise Unsupported(f"bit operations on {dtype.name}", "use 32 bits or fewer")
    ones = np.array(-1).astype(dtype) if dtype.kind == "i" else np.iinfo(dtype.name).max
    other = tensors[1] if len(tensors) > 1 else g.constant(ones, dtype)
    return g.binary("BITWISE_XOR", tensors[0], other), perm
