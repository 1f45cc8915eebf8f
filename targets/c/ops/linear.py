"""Gemm and MatMul: rows times a matrix.

A constant matrix is packed in blocks of columns, like the weights of a convolution; int8 rows are spread to
16 bits in scratch for the dual multiply. Everything else (a matrix computed at run time, batches of matrices)
runs plain loops.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels import lanes, registers, scalable, vectors
from ..kernels.blocks import packed
from ..kernels.dot import cut, packed_blocks, packed_pairs
from ..kernels.nest import broadcast
from ..kernels.requantize import exactly, integer_bias, matching_bias, multipliers, requantization
from ..literals import c_float, c_type
from ..lower import Effort
from ..nodes import Argument, Array, Call, Flash, Graph, Node, Read, Scratch, Step, Unsupported, Write
from .conv import BLOCK, _limits


def lower_gemm(node: Node, graph: Graph, effort: Effort) -> list[Step]:
    """alpha * A' * B' + beta * C."""
    a, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    rows, columns = y.shape
    turned, depth = node.integer("transA", 0), a.shape[0 if node.integer("transA", 0) else 1]
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    matrix = graph.constants.get(node.inputs[1])
    bias = graph.constants.get(node.inputs[2]) if node.has(2) else np.zeros(1, np.float32)
    if node.quantized and matrix is not None:
        stored = matrix if node.integer("transB", 0) else matrix.T
        return [_integer(node, graph, stored, rows, effort)]
    if a.dtype != np.float32:
        raise Unsupported(f"Gemm of {a.dtype} has no C kernel", "cast it to float32")
    flat = bias is not None and np.squeeze(bias).ndim <= 1 and (bias.ndim < 2 or bias.shape[0] == 1)
    if matrix is None or not flat or turned or bias is None:
        return [_plain_gemm(node, graph, depth, alpha, beta)]
    by_column = (matrix if node.integer("transB", 0) else matrix.T).astype(np.float32) * np.float32(alpha)
    offset = np.broadcast_to(bias.astype(np.float32).ravel() * np.float32(beta), (columns,))
    return [_packed(node, graph, by_column, np.ascontiguousarray(offset), rows)]


def _plain_gemm(node: Node, graph: Graph, depth: int, alpha: float, beta: float) -> Call:
    a, b, y = (graph.value(n) for n in (node.inputs[0], node.inputs[1], node.outputs[0]))
    arguments: list[Argument] = [Read(node.inputs[0]), Read(node.inputs[1])]
    offset = None
    if node.has(2):
        strides = broadcast(graph.value(node.inputs[2]).shape, y.shape)
        offset = {"row": strides[0], "column": strides[1], "beta": c_float(beta)}
        arguments.append(Read(node.inputs[2]))
    trans_a, trans_b = node.integer("transA", 0), node.integer("transB", 0)
    params = {
        "batches": (),
        "rows": y.shape[0], "columns": y.shape[1], "depth": depth,
        "a": {"row": 1 if trans_a else a.shape[1], "depth": a.shape[1] if trans_a else 1},
        "b": {"column": b.shape[1] if trans_b else 1, "depth": 1 if trans_b else b.shape[1]},
        "alpha": None if alpha == 1.0 else c_float(alpha), "offset": offset, "clamp": _limits(node.clamp),
        "type": "float", "sum": "float",
    }  # fmt: skip
    return Call("matmul_plain.c.j2", params, (*arguments, Write(node.outputs[0])))


def lower_matmul(node: Node, graph: Graph, effort: Effort) -> list[Step]:
    a, b, y = (graph.value(n) for n in (node.inputs[0], node.inputs[1], node.outputs[0]))
    matrix = graph.constants.get(node.inputs[1])
    if matrix is not None and matrix.ndim == 2 and len(a.shape) >= 2:
        rows = math.prod(a.shape[:-1])
        if node.quantized:
            return [_integer(node, graph, matrix.T, rows, effort)]
        if a.dtype == np.float32:
            return [_packed(node, graph, matrix.T, np.zeros(matrix.shape[1], np.float32), rows)]
    sums = {
        "float32": "float",
        "float64": "double",
        "int32": "uint32_t",
        "int64": "uint64_t",
        "uint32": "uint32_t",
        "uint64": "uint64_t",
    }
    if a.dtype.name not in sums:
        raise Unsupported(f"MatMul of {a.dtype} has no C kernel", "cast it to float32")
    a_shape = a.shape if len(a.shape) > 1 else (1, *a.shape)
    b_shape = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    batch = np.broadcast_shapes(a_shape[:-2], b_shape[:-2])
    a_steps, b_steps = broadcast(a_shape[:-2], batch), broadcast(b_shape[:-2], batch)
    a_matrix, b_matrix = a_shape[-2] * a_shape[-1], b_shape[-2] * b_shape[-1]
    batches = [
        {"count": n, "a": i * a_matrix, "b": j * b_matrix}
        for n, i, j in zip(batch, a_steps, b_steps, strict=True)
    ]
    params = {
        "batches": batches,
        "rows": a_shape[-2], "columns": b_shape[-1], "depth": a_shape[-1],
        "a": {"row": a_shape[-1], "depth": 1}, "b": {"column": 1, "depth": b_shape[-1]},
        "alpha": None, "offset": None, "clamp": _limits(node.clamp),
        "type": c_type(y.dtype), "sum": sums[a.dtype.name],
    }  # fmt: skip
    template = "matmul_plain.c.j2"
    if graph.lanes > 1 and a.dtype == np.float32:
        template, tile = "matmul_lanes.c.j2", _rows_at_once(a_shape[-2])
        params |= {"tile": tile, "width": lanes.blocks(b_shape[-1], graph.lanes, tile).width}
    return [Call(template, params, (Read(node.inputs[0]), Read(node.inputs[1]), Write(node.outputs[0])))]


def _packed(node: Node, graph: Graph, by_column: Array, bias: Array, rows: int) -> Call:
    """`by_column` [columns, depth], `bias` [columns]."""
    columns, depth = by_column.shape
    tile = _rows_at_once(rows)
    if graph.lanes > 1:
        params = {**lanes.FLOAT, "rows": rows, "tile": tile, "clamp": _limits(node.clamp)}
        return lanes.dense(node, graph.lanes, by_column.astype(np.float32), bias, (), params)
    params = {
        "rows": rows, "columns": columns, "depth": depth, "tile": tile, "block": BLOCK,
        "clamp": _limits(node.clamp),
    }  # fmt: skip
    arguments = (
        Read(node.inputs[0]),
        Flash(packed(by_column[None].astype(np.float32), BLOCK), f"weights_{node.name}"),
        Flash(bias, f"bias_{node.name}"),
        Write(node.outputs[0]),
    )
    return Call("linear.c.j2", params, arguments)


def _rows_at_once(rows: int) -> int:
    return max(t for t in (1, 2, 4) if rows % t == 0)


def _integer(node: Node, graph: Graph, stored: Array, rows: int, effort: Effort) -> Call:
    """`stored` [columns, depth], the weights as they are stored."""
    x, w = node.quants[0], node.quants[1]
    weights = (stored.astype(np.int32) - w.zero.reshape(-1, 1)).astype(np.int8)
    columns, depth = weights.shape
    bias = integer_bias(node, graph, x, w, weights)
    factors = multipliers(x, w, node.result, columns, fixed=graph.fixed_point)
    if graph.lanes > 1 and lanes.exact(depth, x.dtype):
        stored_as = {**requantization(node, factors), "clamp": _limits(node.clamp), **lanes.INTEGER}
        inputs = {"rows": rows, "tile": _rows_at_once(rows), "source": x.dtype.name + "_t"}
        return lanes.dense(node, graph.lanes, weights, bias, (factors,), {**stored_as, **inputs})
    multiplier = Flash(factors, f"scale_{node.name}")
    if graph.vectors and x.dtype == np.int8:
        stored_as = {**requantization(node, factors), "clamp": _limits(node.clamp)}
        return vectors.dense(node, weights, bias, multiplier, stored_as, rows)
    if graph.scalable and x.dtype == np.int8 and scalable.takes(factors):
        stored_as = requantization(node, factors)
        return scalable.dense(node, weights, bias, multiplier, stored_as, rows)
    if graph.registers and x.dtype == np.int8:
        stored_as = {**requantization(node, factors), "clamp": _limits(node.clamp)}
        return registers.dense(node, weights, bias, multiplier, stored_as, rows)
    pairs = cut(depth)
    tile = next(t for t in (3, 2, 1) if rows % t == 0 and t <= max(effort.tile, 1) and pairs.reaches(t))
    block = 4 if tile == 1 else 2
    params = {
        **requantization(node, factors), "clamp": _limits(node.clamp), "zero": int(x.zero),
        "source": x.dtype.name + "_t", "rows": rows, "columns": columns, "depth": depth, "cut": pairs,
        "tile": tile, "block": block,
    }  # fmt: skip
    found = exactly(node, graph, weights, bias, factors, block)
    blocks = None if found is None else packed_blocks(found.weights[None], block, pairs, found)
    params |= {"exact": None if blocks is None else found}
    packed_weights = packed_pairs(weights[None], block, pairs) if blocks is None else blocks
    flash: list[Argument] = [Flash(packed_weights, f"weights_{node.name}")]
    if blocks is None:
        flash += [Flash(bias, f"bias_{node.name}"), multiplier]
    arguments = (
        Read(node.inputs[0]), *flash, Scratch(pairs.stride * tile * 2), Write(node.outputs[0]),
    )  # fmt: skip
    one = rows == tile  # all inputs are in scratch before the first result is written
    narrow = columns * graph.value(node.outputs[0]).dtype.itemsize <= depth
    return Call(
        "linear_int8.c.j2", params, arguments, ((node.outputs[0], node.inputs[0]),) if one and narrow else ()
    )


def accepts(node: Node, graph: Graph) -> bool:
    """8-bit per-tensor rows, a constant 8-bit matrix quantized per tensor or per column, an int32 bias."""
    x, w, b = node.quants.get(0), node.quants.get(1), node.quants.get(2)
    if x is None or w is None or not x.per_tensor or x.dtype.itemsize != 1 or w.dtype.itemsize != 1:
        return False
    stored = graph.constants.get(node.inputs[1])
    if stored is None or stored.ndim != 2 or len(graph.value(node.inputs[0]).shape) < 2:
        return False
    turned = node.op == "Gemm" and node.integer("transB", 0) == 1
    if not (w.per_tensor or w.axis == (0 if turned else 1)):
        return False
    if node.op == "Gemm":
        plain = node.real("alpha", 1.0) == 1.0 and node.real("beta", 1.0) == 1.0
        if (
            not plain
            or node.integer("transA", 0)
            or not _flat_bias(node, graph, stored.shape[0 if turned else 1])
        ):
            return False
    if b is not None and not matching_bias(x, w, b):
        return False
    rows = stored if turned else stored.T
    centred = rows.astype(np.int32) - w.zero.reshape(-1, 1)
    return bool(centred.min() >= -128 and centred.max() <= 127)


def _flat_bias(node: Node, graph: Graph, columns: int) -> bool:
    if not node.has(2):
        return True
    bias = graph.constants.get(node.inputs[2])
    return bias is not None and bias.size == columns and bias.shape[-1] == columns


INTEGER = {"Gemm": accepts, "MatMul": accepts}
CLAMPS = frozenset({"Gemm", "MatMul"})
OPERATORS = {"Gemm": lower_gemm, "MatMul": lower_matmul}
