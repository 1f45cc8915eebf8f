"""Convolution, in three forms chosen by shape.

Dense and grouped: a few output pixels at a time (`Effort.tile`), their inputs gathered into scratch columns
with the padding in place, so that the multiplication loop knows no borders; weights are packed in blocks of
output channels in the order that the loop reads them. Depthwise: one padded input plane at a time in scratch;
as the plane is a copy, the result may take the place of the input, and so it may for pointwise convolutions
that do not add channels. Weights that are computed at run time: plain loops.
"""

from __future__ import annotations

import math

import numpy as np

from .. import lanes, registers, vectors
from ..dot import FARTHEST, LONGEST, cut, packed_blocks, packed_pairs
from ..exact import SCALE, Codes, Exact, exact
from ..fixed_point import fixed_factors
from ..literals import c_float, c_type
from ..lower import Effort
from ..nodes import (
    Argument,
    Array,
    Call,
    Clamp,
    Flash,
    Graph,
    Node,
    Quant,
    Read,
    Scratch,
    Step,
    Unsupported,
    Write,
)
from ..windows import Window, window

BLOCK = 4
"""Output channels computed at once in float: four sums for each input that is loaded."""
MOST_TAPS = 25
"""Of a depthwise kernel that is written out."""
MOST_PIXELS = 3
"""In int8: three, whose sums with two outputs fill the integer registers of a Cortex-M4."""
LONGEST_OF_PIXELS = 16
"""Pairs in a row where a kernel has no code for windows."""
MOST_OF_ROW = 6
"""Outputs of a depthwise kernel at once: with two words of weights and two of inputs ten registers."""
THREE = "conv_depthwise_three_int8.c.j2"


def lower_conv(node: Node, graph: Graph, effort: Effort) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    weights = graph.value(node.inputs[1])
    if not node.quantized and x.dtype != np.float32:
        raise Unsupported(f"{node.op} of {x.dtype} has no C kernel", "cast it to float32")
    kernel = node.integers("kernel_shape", weights.shape[2:])
    shape = window(node, x.shape, kernel, y.shape)
    groups = node.integer("group", 1)
    sizes = {
        "batch": x.shape[0],
        "groups": groups,
        "inputs": x.shape[1] // groups,
        "outputs": y.shape[1] // groups,
        "window": shape,
        "plane": shape.size[0] * shape.size[1],
        "pixels": shape.result[0] * shape.result[1],
        "clamp": _limits(node.clamp),
    }
    if node.quantized:
        return _integer(node, graph, shape, sizes, effort)
    if node.inputs[1] not in graph.constants:
        return [_plain(node, sizes)]
    constant = graph.constants[node.inputs[1]]
    bias = _bias(node, graph, y.shape[1])
    if bias is None:
        return [_plain(node, sizes)]
    if groups > 1 and x.shape[1] == groups:
        return [_depthwise(node, graph, constant, bias, shape, sizes)]
    return [_tiled(node, graph, constant, bias, shape, sizes, effort)]


def _limits(clamp: Clamp | None) -> dict[str, str | None]:
    low = None if clamp is None or clamp.low is None else c_float(clamp.low)
    high = None if clamp is None or clamp.high is None else c_float(clamp.high)
    return {"low": low, "high": high}


def _bias(node: Node, graph: Graph, channels: int) -> Array | None:
    """The constant bias, zeros where there is none; None when it is computed at run time."""
    if not node.has(2):
        return np.zeros(channels, np.float32)
    return graph.constants.get(node.inputs[2])


def _plain(node: Node, sizes: dict[str, object]) -> Call:
    arguments: list[Argument] = [Read(node.inputs[0]), Read(node.inputs[1])]
    if node.has(2):
        arguments.append(Read(node.inputs[2]))
    params = {**sizes, "bias": node.has(2)}
    return Call("conv_plain.c.j2", params, (*arguments, Write(node.outputs[0])))


def _tiled(
    node: Node,
    graph: Graph,
    weights: Array,
    bias: Array,
    shape: Window,
    sizes: dict[str, object],
    effort: Effort,
) -> Call:
    depth = int(np.prod(weights.shape[1:]))
    tile = min(effort.tile, shape.result[0] * shape.result[1])
    groups = int(str(sizes["groups"]))
    if graph.lanes > 1:
        rows = weights.reshape(groups, -1, depth)
        reuse = _in_place(node, shape, sizes)
        return lanes.convolution(node, graph.lanes, rows, bias, (), {**sizes, **lanes.FLOAT}, tile, reuse)
    params = {**sizes, "depth": depth, "tile": tile, "block": BLOCK}
    arguments = (
        Read(node.inputs[0]),
        Flash(packed(weights.reshape(groups, -1, depth), BLOCK), f"weights_{node.name}"),
        Flash(bias, f"bias_{node.name}"),
        Scratch(depth * tile * 4),
        Write(node.outputs[0]),
    )
    return Call("conv_tiled.c.j2", params, arguments, _in_place(node, shape, sizes))


def packed(rows: Array, block: int) -> Array:
    """[groups, rows, depth] -> for each `block` of rows [depth, block], so that one step reads neighbours."""
    parts = []
    for group in rows:
        for start in range(0, len(group), block):
            parts.append(np.ascontiguousarray(group[start : start + block].T).ravel())
    return np.concatenate(parts)


def _in_place(node: Node, shape: Window, sizes: dict[str, object]) -> tuple[tuple[str, str], ...]:
    """Pointwise, one group, no more outputs than inputs: a pixel is in scratch when it is written."""
    narrow = int(str(sizes["outputs"])) <= int(str(sizes["inputs"]))
    if shape.pointwise and narrow and sizes["groups"] == 1 and sizes["batch"] == 1:
        return ((node.outputs[0], node.inputs[0]),)
    return ()


def _depthwise(
    node: Node, graph: Graph, weights: Array, bias: Array, shape: Window, sizes: dict[str, object]
) -> Call:
    if _runs(graph, shape):
        place = padded_plane(shape), depthwise_in_place(node, shape, sizes)
        return lanes.depthwise(node, graph.lanes, weights, bias, (), {**sizes, **lanes.FLOAT}, *place)
    rows, columns = padded_plane(shape)
    params = {**sizes, "rows": rows, "columns": columns, "ahead": 4}
    arguments = (
        Read(node.inputs[0]),
        Flash(weights, f"weights_{node.name}"),
        Flash(bias, f"bias_{node.name}"),
        Scratch(rows * columns * 4),
        Write(node.outputs[0]),
    )
    return Call("conv_depthwise.c.j2", params, arguments, depthwise_in_place(node, shape, sizes))


def _runs(graph: Graph, shape: Window) -> bool:
    """Whether a host computes neighbouring outputs of a depthwise convolution from neighbouring inputs."""
    return graph.lanes > 1 and shape.strides == (1, 1) and math.prod(shape.kernel) <= MOST_TAPS


def padded_plane(shape: Window) -> tuple[int, int]:
    """Rows and columns of a plane with its padding."""
    return (
        shape.size[0] + shape.before[0] + shape.after[0],
        shape.size[1] + shape.before[1] + shape.after[1],
    )


def depthwise_in_place(node: Node, shape: Window, sizes: dict[str, object]) -> tuple[tuple[str, str], ...]:
    """One output plane per input plane and no larger: plane c ends before input plane c + 1 begins."""
    smaller = shape.result[0] * shape.result[1] <= shape.size[0] * shape.size[1]
    if smaller and sizes["outputs"] == 1 and sizes["batch"] == 1:
        return ((node.outputs[0], node.inputs[0]),)
    return ()


def _integer(node: Node, graph: Graph, shape: Window, sizes: dict[str, object], effort: Effort) -> list[Step]:
    stored = graph.constants[node.inputs[1]]
    x, w = node.quants[0], node.quants[1]
    zero = w.zero.reshape(-1, *[1] * (stored.ndim - 1))
    weights = (stored.astype(np.int32) - zero).astype(np.int8)
    channels = len(weights)
    bias = integer_bias(node, graph, x, w, weights)
    factors = multipliers(x, w, node.result, channels, fixed=graph.fixed_point)
    params = {**sizes, **requantization(node, factors), "zero": int(x.zero), "source": x.dtype.name + "_t"}
    multiplier = Flash(factors, f"scale_{node.name}")
    x_argument, y_argument = Read(node.inputs[0]), Write(node.outputs[0])
    groups = int(str(sizes["groups"]))
    bias_argument = Flash(bias, f"bias_{node.name}")
    depthwise = groups > 1 and sizes["inputs"] == 1
    if graph.lanes > 1 and lanes.exact(math.prod(weights.shape[1:]), x.dtype):
        kind = {**params, **lanes.INTEGER}
        if not depthwise:
            rows_of = weights.reshape(groups, channels // groups, -1)
            tile = min(effort.tile, math.prod(shape.result))
            reuse = _in_place(node, shape, sizes) if node.result else ()
            return [lanes.convolution(node, graph.lanes, rows_of, bias, (factors,), kind, tile, reuse)]
        if _runs(graph, shape):
            reuse = depthwise_in_place(node, shape, sizes) if node.result else ()
            plane_size = padded_plane(shape)
            return [lanes.depthwise(node, graph.lanes, weights, bias, (factors,), kind, plane_size, reuse)]
    signed = x.dtype == np.int8
    vector, register = graph.vectors and signed, graph.registers and signed
    taps = shape.kernel[0] * shape.kernel[1]
    if depthwise:
        plane_size, reuse = padded_plane(shape), depthwise_in_place(node, shape, sizes) if node.result else ()
        if vector and node.result and taps <= MOST_TAPS:
            return [vectors.depthwise(node, weights, bias, multiplier, params, plane_size, reuse)]
        if register and taps <= MOST_TAPS:
            return [registers.depthwise(node, weights, bias, multiplier, params, plane_size, reuse)]
        template, packed_weights, (rows, columns) = _integer_depthwise(shape, weights)
        params |= {"rows": rows, "columns": columns, "ahead": 2}
        if template == THREE:
            found = exactly(node, graph, weights, bias, factors, 1)
            if found is not None:
                packed_weights = three_words(found.weights, SCALE)
                bias_argument = Flash(found.biases.astype(np.int32), f"bias_{node.name}")
                multiplier = Flash(found.factors, f"scale_{node.name}")
                params |= {"factor": "int32_t"}
            fours = shape.size[1] % 4 == 0 and shape.before[1] <= 1 and x.dtype == np.int8
            params |= {
                "exact": found,
                "words": fours and not graph.fixed_point,
                "ahead": run_of(shape.result[1]),
            }
        flat = Flash(packed_weights, f"weights_{node.name}")
        plane = Scratch(rows * columns * 2 + 2)  # a pair may begin at the last element
        arguments = (x_argument, flat, bias_argument, multiplier, plane, y_argument)
        return [Call(template, params, arguments, reuse)]
    reuse = _in_place(node, shape, sizes) if node.result else ()
    if vector:
        return [vectors.convolution(node, weights, bias, multiplier, params, effort.tile, reuse)]
    if register and shape.result[0] * shape.result[1] > 1:
        return [registers.convolution(node, weights, bias, multiplier, params, effort.tile, reuse)]
    by_group = weights.reshape(groups, channels // groups, -1)
    depth = cut(by_group.shape[2], LONGEST_OF_PIXELS if shape.pointwise else LONGEST)
    most = min(effort.tile, MOST_PIXELS, shape.result[0] * shape.result[1])
    tile = next(t for t in range(most, 0, -1) if depth.reaches(t))
    params |= {"depth": depth.depth, "cut": depth, "tile": tile}
    found = exactly(node, graph, weights, bias, factors, 2, groups)
    blocks = None if found is None else packed_blocks(found.weights.reshape(by_group.shape), 2, depth, found)
    params |= {"exact": None if blocks is None else found}
    packed_weights = packed_pairs(by_group, 2, depth) if blocks is None else blocks
    flash: list[Argument] = [Flash(packed_weights, f"weights_{node.name}")]
    if blocks is None:
        flash += [bias_argument, multiplier]
    column = Scratch(depth.stride * tile * 2)
    return [Call("conv_tiled_int8.c.j2", params, (x_argument, *flash, column, y_argument), reuse)]


def exactly(
    node: Node, graph: Graph, weights: Array, bias: Array, factors: Array, block: int, groups: int = 1
) -> Exact | None:
    """How to scale without floats what is to equal floats; None where that is not asked for or cannot be."""
    if node.result is None or graph.fixed_point or graph.vectors or graph.registers:
        return None
    codes = Codes(int(node.result.zero), *requantization_limits(node.clamp, node.result))
    inputs = (node.quants[0].low, node.quants[0].high)
    return exact(weights, bias, inputs, factors.astype(np.float32), codes, block, groups)


def _integer_depthwise(shape: Window, weights: Array) -> tuple[str, Array, tuple[int, int]]:
    """The template, its weights, and the size of the plane that it wants."""
    rows, columns = padded_plane(shape)
    height, width = shape.kernel
    if shape.dilations[1] > 1 or width == 1 or height * width > MOST_TAPS:
        return "conv_depthwise_int8.c.j2", weights, (rows, columns)
    last = 2 * ((height - 1) * shape.dilations[0] * (columns + columns % 2) + 2 * MOST_OF_ROW + 2)
    if width == 3 and height <= 3 and shape.strides[1] <= 2 and last <= FARTHEST:
        return THREE, three_words(weights), (rows, columns + columns % 2)
    return "conv_depthwise_pairs_int8.c.j2", paired_words(weights), (rows, columns)


def run_of(width: int) -> int:
    """How many outputs of a row at once. Where there are several runs, each begins at a whole word."""
    return width if width <= MOST_OF_ROW else 4 if width % 4 == 0 and width % MOST_OF_ROW else MOST_OF_ROW


def three_words(weights: Array, scale: int = 1) -> Array:
    """[outputs, 1, (height,) 3] int8 -> uint32 [outputs, height, 2]: neighbours (0, 1) and (1, 2), scaled."""
    rows = weights.reshape(len(weights), 1, -1, 3).astype(np.int16) * np.int16(scale)
    return paired_words(np.concatenate([rows[..., :2], rows[..., 1:]], axis=-1))


def paired_words(weights: Array) -> Array:
    """[outputs, 1, height, width] -> uint32: two neighbours of a row as 16-bit halves."""
    wide = weights.reshape(len(weights), *weights.shape[-2:] if weights.ndim == 4 else (1, weights.shape[-1]))
    filled = np.zeros((*wide.shape[:2], wide.shape[2] + wide.shape[2] % 2), np.int16)
    filled[:, :, : wide.shape[2]] = wide
    return filled.view("<u4").astype(np.uint32).ravel()


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


def accepts(node: Node, graph: Graph) -> bool:
    """8-bit per-tensor input, constant 8-bit weights (per channel or not) that fit int8 around their zero."""
    x, w, b = node.quants.get(0), node.quants.get(1), node.quants.get(2)
    if x is None or w is None or not x.per_tensor or x.dtype.itemsize != 1 or w.dtype.itemsize != 1:
        return False
    stored = graph.constants.get(node.inputs[1])
    if stored is None or not (w.per_tensor or w.axis == 0):
        return False
    if node.has(2) and node.inputs[2] not in graph.constants:
        return False
    if b is not None and not matching_bias(x, w, b):
        return False
    centred = stored.astype(np.int32) - w.zero.reshape(-1, *[1] * (stored.ndim - 1))
    return bool(centred.min() >= -128 and centred.max() <= 127)


def matching_bias(x: Quant, w: Quant, b: Quant) -> bool:
    """The bias is int32 in units of input scale * weight scale, as ONNX's integer operators want it."""
    return (
        b.dtype == np.int32
        and not b.zero.any()
        and bool(np.allclose(b.scale, x.scale * w.scale, rtol=1e-5, atol=0.0))
    )


INTEGER = {"Conv": accepts}
CLAMPS = frozenset({"Conv"})
OPERATORS = {"Conv": lower_conv}
