"""Pools over windows and over whole planes, float and 8-bit.

Averages of 8-bit tensors are rounded once, from the int32 sum. Without padding the result may take the place
of the input: the windows are visited in the order in which they begin, and a result never lies behind the
first element that is still to be read.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels.windows import refuse_unclear, window
from ..literals import c_float, c_type
from ..nodes import Argument, Call, Graph, Node, Read, Step, Unsupported, Write, integer_limits
from ..tables import requantized


def lower_max_pool(node: Node, graph: Graph, _effort: object) -> list[Step]:
    indices = node.outputs[1] if len(node.outputs) > 1 else ""
    if indices and (node.quantized or not node.outputs[0]):
        raise Unsupported("MaxPool of quantized values with its second output, or with nothing else")
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if not node.attributes.get("kernel_shape"):
        raise Unsupported("MaxPool without kernel_shape")
    shape = window(node, x.shape, node.integers("kernel_shape", ()), y.shape)
    refuse_unclear(node, shape, len(x.shape) - 2)
    low = "-__builtin_inff()" if x.dtype.kind == "f" else str(integer_limits(x.dtype)[0])
    if x.dtype.itemsize > 4:
        raise Unsupported(f"MaxPool of {x.dtype} has no C kernel", "cast it to float32")
    by_column = bool(node.integer("storage_order", 0))
    params = {
        "planes": x.shape[0] * x.shape[1], "window": shape, "type": c_type(x.dtype), "low": low,
        "indices": bool(indices), "by_column": by_column,
    }  # fmt: skip
    reuse = () if shape.padded or indices else ((node.outputs[0], node.inputs[0]),)
    arguments: list[Argument] = [Read(node.inputs[0]), Write(node.outputs[0])]
    pool = Call("pool_max.c.j2", params, (*arguments, *([Write(indices)] if indices else [])), reuse)
    return [pool, *requantized(node, graph)]


def lower_average_pool(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    shape = window(node, x.shape, node.integers("kernel_shape", ()), y.shape)
    refuse_unclear(node, shape, len(x.shape) - 2)
    if not node.quantized and x.dtype != np.float32:
        raise Unsupported(f"AveragePool of {x.dtype} has no C kernel", "cast it to float32")
    include = bool(node.integer("count_include_pad", 0)) and shape.padded
    rank = len(x.shape) - 2
    pads = node.integers("pads", [0] * 2 * rank) if node.text("auto_pad", "NOTSET") == "NOTSET" else None
    ends = list(pads[rank:]) if pads is not None else list(shape.after[2 - rank :])
    bounds = [size + (end if include else 0) for size, end in zip(shape.size[2 - rank :], ends, strict=True)]
    params = {
        "planes": x.shape[0] * x.shape[1],
        "window": shape,
        "include": include,
        "bounds": bounds if rank == 2 else [1, *bounds],
        **_average_types(node, graph),
    }
    if keeps_codes(node) and not include:
        params |= {"codes": True, "zero": 0}
    reuse = (
        ((node.outputs[0], node.inputs[0]),)
        if not shape.padded and x.dtype.itemsize >= y.dtype.itemsize
        else ()
    )
    return [Call("pool_average.c.j2", params, (Read(node.inputs[0]), Write(node.outputs[0])), reuse)]


def _average_types(node: Node, graph: Graph) -> dict[str, object]:
    """Types, and for 8-bit tensors zero points, limits and the factor input scale / result scale."""
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if not node.quantized:
        return {
            "source": "float",
            "type": "float",
            "sum": "float",
            "zero": 0,
            "factor": "1.0f",
            "result": None,
            "codes": False,
        }
    quant, result = node.quants[0], node.result
    factor = quant.scale if result is None else np.float32(quant.scale / result.scale)
    limits = None if result is None else {"zero": int(result.zero), "low": result.low, "high": result.high}
    return {
        "source": c_type(x.dtype),
        "type": c_type(y.dtype),
        "sum": "int32_t",
        "zero": int(quant.zero),
        "factor": c_float(float(factor)),
        "result": limits,
        "codes": False,
    }


def keeps_codes(node: Node) -> bool:
    """Quantized alike on both sides, so that the mean of the stored integers is the result.

    Halves are rounded away from zero, as TFLite's kernels do and onnxruntime's do not.
    """
    return node.result is not None and node.quants[0].same(node.result)


def lower_global_average_pool(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if not node.quantized and x.dtype != np.float32:
        raise Unsupported(f"GlobalAveragePool of {x.dtype} has no C kernel", "cast it to float32")
    size = math.prod(x.shape[2:])
    params = {"planes": x.shape[0] * x.shape[1], "plane": size, **_average_types(node, graph)}
    if node.quantized:
        scale = node.quants[0].scale
        divisor = (
            np.float32(size) if node.result is None else np.float32(node.result.scale * np.float32(size))
        )
        params["factor"] = c_float(float(np.float32(scale / divisor)))
    if keeps_codes(node):
        params |= {"codes": True, "zero": 0}
    reuse = ((node.outputs[0], node.inputs[0]),) if x.dtype.itemsize >= y.dtype.itemsize else ()
    return [Call("pool_global.c.j2", params, (Read(node.inputs[0]), Write(node.outputs[0])), reuse)]


def lower_global_max_pool(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x = graph.value(node.inputs[0])
    if x.dtype.itemsize > 4:
        raise Unsupported(f"GlobalMaxPool of {x.dtype} has no C kernel", "cast it to float32")
    params = {"planes": x.shape[0] * x.shape[1], "plane": math.prod(x.shape[2:]), "type": c_type(x.dtype)}
    reuse = ((node.outputs[0], node.inputs[0]),)
    pool = Call("pool_global_max.c.j2", params, (Read(node.inputs[0]), Write(node.outputs[0])), reuse)
    return [pool, *requantized(node, graph)]


def accepts_average(node: Node, graph: Graph) -> bool:
    quants = [*node.quants.values(), *([node.result] if node.result else [])]
    return 0 in node.quants and all(q.per_tensor and q.dtype.itemsize == 1 for q in quants)


def accepts_max(node: Node, graph: Graph) -> bool:
    return (
        accepts_average(node, graph) and node.result is not None and node.result.dtype == node.quants[0].dtype
    )


INTEGER = {
    "MaxPool": accepts_max,
    "GlobalMaxPool": accepts_max,
    "AveragePool": accepts_average,
    "GlobalAveragePool": accepts_average,
}
OPERATORS = {
    "MaxPool": lower_max_pool,
    "AveragePool": lower_average_pool,
    "GlobalAveragePool": lower_global_average_pool,
    "GlobalMaxPool": lower_global_max_pool,
}
