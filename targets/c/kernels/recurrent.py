"""What LSTM and GRU share: int8 weights and their scales, and for hosts some units at once.

With lanes the weights of neighbouring units lie side by side, gate by gate, so that one input is multiplied
by all of them (`templates/gates.j2`), and no sum is reordered.
"""

from __future__ import annotations

import numpy as np

from ..nodes import Argument, Array, Flash, Graph, Node, Quant
from . import lanes

MATRICES = {1: "w", 2: "r"}
"""Positions of the weights of inputs and of hidden states -> their names in the templates."""


def units_at_once(hidden: int, width: int, sums: int) -> int:
    """Units whose `sums` each are as many vectors of `width` as there should be in flight."""
    return width * min(lanes.SUMS // sums, -(-hidden // width))


def constant_weights(node: Node, graph: Graph) -> bool:
    """Weights and biases are all known at build time."""
    return all(not node.has(p) or node.inputs[p] in graph.constants for p in (*MATRICES, 3))


def kinds(node: Node, *, by_codes: bool = False) -> dict[str, str]:
    """Of both matrices, what `templates/gates.j2` says of them."""
    integer = "codes" if by_codes else "int8"
    return {letter: integer if p in node.quants else "float" for p, letter in MATRICES.items()}


def matrix(node: Node, graph: Graph, position: int, gates: int, units: int, direction: int) -> list[Argument]:
    """The weights of one direction for so many units at once, and the scales of int8."""
    stored = graph.constants[node.inputs[position]][direction]
    made: list[Argument] = [Flash(by_unit(stored, gates, units), f"weights_{position}_{node.name}")]
    if position in node.quants:
        scales = gate_scales(node, graph, position, gates)[direction]
        made.append(Flash(by_unit(scales.T.reshape(-1, 1), gates, units), f"scale_{position}_{node.name}"))
    return made


def by_unit(rows: Array, gates: int, units: int) -> Array:
    """[gates * hidden, depth] -> [blocks, depth, gates, units] as one row, filled up with zeros."""
    hidden, depth = len(rows) // gates, rows.shape[1]
    filled = np.zeros((gates, -(-hidden // units) * units, depth), rows.dtype)
    filled[:, :hidden] = rows.reshape(gates, hidden, depth)
    return np.ascontiguousarray(filled.reshape(gates, -1, units, depth).transpose(1, 3, 0, 2)).ravel()


def gate_scales(node: Node, graph: Graph, position: int, gates: int) -> Array:
    """float32 [directions, hidden, gates]: the scale of each row of int8 weights."""
    directions, rows, _ = graph.value(node.inputs[position]).shape
    quant, shape = node.quants[position], (directions, rows // gates, gates)
    if quant.per_tensor:
        return np.full(shape, quant.scale, np.float32)
    if quant.axis == 0:
        return np.broadcast_to(quant.scale[:, None, None], shape).astype(np.float32)
    by_gate = np.ascontiguousarray(quant.scale.reshape(gates, -1).T)
    return np.broadcast_to(by_gate, shape).astype(np.float32)


def accepts(node: Node, graph: Graph) -> bool:
    """Constant int8 weights with zero point 0; everything else stays float."""
    if node.result is not None or not set(node.quants) <= MATRICES.keys():
        return False
    return all(_stored_around_zero(graph, node.inputs[p], quant) for p, quant in node.quants.items())


def _stored_around_zero(graph: Graph, name: str, quant: Quant) -> bool:
    stored = graph.constants.get(name)
    if stored is None or quant.dtype != np.int8 or quant.zero.any():
        return False
    return quant.per_tensor or (quant.axis in (0, 1) and quant.scale.size == stored.shape[quant.axis])
