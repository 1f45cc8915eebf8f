"""int8 layers around their products: what an int32 sum begins with, and how it becomes a result."""

from __future__ import annotations

import numpy as np

from ..literals import c_type
from ..nodes import Array, Clamp, Graph, Node, Quant, Unsupported
from .exact import Codes, Exact, exact
from .fixed_point import fixed_factors


def exactly(
    node: Node, graph: Graph, weights: Array, bias: Array, factors: Array, block: int, groups: int = 1
) -> Exact | None:
    """How to scale without floats what is to equal floats; None where that is not asked for or cannot be."""
    if node.result is None or graph.fixed_point or graph.vectors or graph.registers:
        return None
    codes = Codes(int(node.result.zero), *requantization_limits(node.clamp, node.result))
    inputs = (node.quants[0].low, node.quants[0].high)
    return exact(weights, bias, inputs, factors.astype(np.float32), codes, block, groups)


def integer_bias(node: Node, graph: Graph, x: Quant, w: Quant, weights: Array) -> Array:
    """int32 [channels], in units of input scale * weight scale: what a sum of stored inputs begins with.

    Less the zero point of the input times the sum of the `weights` [channels, ...], so that the kernel can
    multiply inputs as they are stored. A float bias is rounded to such units.
    """
    centre = int(x.zero) * weights.reshape(len(weights), -1).sum(axis=1, dtype=np.int64)
    bias: Array = np.zeros(len(weights), np.int64)
    limits = np.iinfo(np.int32)
    if node.has(2):
        stored = graph.constants[node.inputs[2]].ravel()
        if 2 in node.quants:
            bias = stored.astype(np.int64)
        else:
            unit = x.scale.astype(np.float64) * w.scale.astype(np.float64)
            bias = np.clip(np.rint(stored.astype(np.float64) / unit), limits.min, limits.max).astype(np.int64)
    made: Array = bias - centre
    if made.min() < limits.min or made.max() > limits.max:
        raise Unsupported("its bias is beyond what 32 bits hold", "leave this node in float32")
    return made.astype(np.int32)


def multipliers(x: Quant, w: Quant, result: Quant | None, channels: int, *, fixed: bool) -> Array:
    """What an int32 sum is multiplied by, [channels]: float32, in onnxruntime's order (x * w) / y.

    `fixed`: fixed-point numbers, int64, if the result is quantized and all of them are below 1.
    """
    if fixed and result is not None:
        double = [q.scale.astype(np.float64) for q in (x, w, result)]
        factors = fixed_factors(np.broadcast_to(double[0] * double[1] / double[2], (channels,)))
        if factors is not None:
            return factors
    single = np.broadcast_to(x.scale * w.scale, (channels,)).astype(np.float32)
    made: Array = single if result is None else (single / result.scale).astype(np.float32)
    return np.ascontiguousarray(made)


def requantization(node: Node, factors: Array) -> dict[str, object]:
    """What the template needs to store a sum: `type`, and for an 8-bit result its zero point and limits.

    A fused Relu or Clip becomes tighter limits: rounding is monotonous, so limiting after it is the same.
    """
    factor = c_type(factors.dtype)
    if node.result is None:
        return {"type": "float", "result": None, "factor": factor}
    low, high = requantization_limits(node.clamp, node.result)
    fixed = factors.dtype == np.int64
    result = {"zero": int(node.result.zero), "low": low, "high": high, "fixed": fixed}
    return {"type": node.result.dtype.name + "_t", "result": result, "factor": factor}


def requantization_limits(clamp: Clamp | None, result: Quant) -> tuple[int, int]:
    """The smallest and the largest integer that a result may be."""
    low, high = result.low, result.high
    if clamp is not None and clamp.low is not None:
        low = max(low, _code(clamp.low, result))
    if clamp is not None and clamp.high is not None:
        high = min(high, _code(clamp.high, result))
    return low, max(low, high)


def _code(value: float, quant: Quant) -> int:
    scaled = np.rint(np.float32(value) / quant.scale) + int(quant.zero)
    return int(np.clip(scaled, quant.low, quant.high))


def matching_bias(x: Quant, w: Quant, b: Quant) -> bool:
    """The bias is int32 in units of input scale * weight scale, as ONNX's integer operators want it."""
    return (
        b.dtype == np.int32
        and not b.zero.any()
        and bool(np.allclose(b.scale, x.scale * w.scale, rtol=1e-5, atol=0.0))
    )
