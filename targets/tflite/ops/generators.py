"""Operators that make their output from little or no input, and masks."""

from __future__ import annotations

import numpy as np

from ..emit import Tensor, Unsupported
from ..layout import Graph
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
    """Of other types onnxruntime writes a Loop before we see the graph, which TFLite cannot have."""
    out = node.outputs[0]
    if out.dtype.name not in ("float32", "int32", "int64"):
        raise Unsupported(f"a range of {out.dtype.name}", "cast its result, not its inputs", final=True)
    inputs = [g.reshape(g.tensor(node.input(i)), ()) for i in range(3)]
    return g.op("RANGE", inputs, out.shape, out.dtype)


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
