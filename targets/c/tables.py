"""Tables of 256 results for 8-bit tensors."""

from __future__ import annotations

import numpy as np

from .literals import c_type
from .nodes import Array, Call, Flash, Graph, Node, Quant, Read, Step, Write
from .rewrite import dequantized


def codes(quant: Quant) -> Array:
    """The real value, float32, of each bit pattern 0..255."""
    return dequantized(np.arange(256, dtype=np.uint8).view(quant.dtype), quant)


def quantized(values: Array, result: Quant) -> Array:
    """QuantizeLinear: divide in float32, round half to even, add the zero point, saturate."""
    with np.errstate(all="ignore"):
        scaled = np.nan_to_num(np.rint(values.astype(np.float32) / result.scale))
    made: Array = np.clip(scaled + result.zero, result.low, result.high).astype(result.dtype)
    return made


def requantized_table(quant: Quant, result: Quant) -> Array:
    """From one scale to another."""
    return quantized(codes(quant), result)


def table_call(graph: Graph, source: str, output: str, table: Array) -> Call:
    """`output`[i] = table[bits of `source`[i]] for 8-bit tensors; `table` has 256 entries."""
    params = {
        "count": graph.value(output).size,
        "source": c_type(graph.value(source).dtype),
        "type": c_type(table.dtype),
    }
    arguments = (Read(source), Flash(table, f"table_{output}"), Write(output))
    return Call("table.c.j2", params, arguments, ((output, source),) if source != output else ())


def requantized(node: Node, graph: Graph) -> list[Step]:
    """After a step that kept the input's scale: the output in its own, in place; nothing if it is the same.

    Rounding is monotonous: the largest of some values stays the largest.
    """
    quant, output = node.quants.get(0), node.outputs[0]
    if quant is None or node.result is None or quant.same(node.result):
        return []
    return [table_call(graph, output, output, requantized_table(quant, node.result))]
