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

from ..kernels import lanes, registers, scalable, vectors
from ..kernels.blocks import packed
from ..kernels.dot import FARTHEST, around, by_couples, cut, packed_blocks, packed_pairs
from ..kernels.exact import SCALE
from ..kernels.requantize import exactly, integer_bias, matching_bias, multipliers, requantization
from ..kernels.windows import Window, window
from ..literals import c_float
from ..lower import Effort
from ..nodes import (
    Argument,
    Array,
    Call,
    Clamp,
    Flash,
    Graph,
    Node,
    Read,
    Scratch,
    Step,
    Unsupported,
    Write,
)

BLOCK = 4
"""Output channels computed at once in float: four sums for each input that is loaded."""
MOST_TAPS = 25
"""Of a depthwise kernel that is written out."""
MOST_PIXELS = 3
"""In int8: three, whose sums with two outputs fill the integer registers of a Cortex-M4."""
LONGEST_OF_COLUMNS = 16
"""Pairs in a row at most, in int8."""
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
    depthwise = int(str(sizes["groups"])) > 1 and sizes["inputs"] == 1
    in_place = depthwise_in_place if depthwise else _in_place
    reuse = in_place(node, shape, sizes) if node.result else ()
    if depthwise:
        return [_integer_planes(node, graph, weights, bias, factors, shape, params, reuse)]
    return [_integer_columns(node, graph, weights, bias, factors, shape, params, effort.tile, reuse)]


def _integer_planes(
    node: Node, graph: Graph, weights: Array, bias: Array, factors: Array, shape: Window,
    params: dict[str, object], reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """Depthwise, `weights` int8 [outputs, 1, height, width]."""
    plane = padded_plane(shape)
    taps = math.prod(shape.kernel)
    if _runs(graph, shape) and lanes.exact(taps, node.quants[0].dtype):
        kind = {**params, **lanes.INTEGER}
        return lanes.depthwise(node, graph.lanes, weights, bias, (factors,), kind, plane, reuse)
    multiplier = Flash(factors, f"scale_{node.name}")
    if node.quants[0].dtype == np.int8 and taps <= MOST_TAPS:
        if graph.vectors and node.result:
            return vectors.depthwise(node, weights, bias, multiplier, params, plane, reuse)
        if graph.scalable and scalable.takes(factors):
            return scalable.depthwise(node, weights, bias, multiplier, params, plane, reuse)
        if graph.registers:
            return registers.depthwise(node, weights, bias, multiplier, params, plane, reuse)
    template, words, (rows, columns) = _integer_depthwise(shape, weights)
    params = {**params, "rows": rows, "columns": columns, "ahead": 2, "exact": None}
    constants: list[Argument] = [Flash(bias, f"bias_{node.name}"), multiplier]
    if template == THREE:
        found = exactly(node, graph, weights, bias, factors, 1)
        if found is not None:
            words, constants = around(three_words(found.weights, SCALE), found), []
        fours = shape.size[1] % 4 == 0 and shape.before[1] <= 1 and node.quants[0].dtype == np.int8
        params |= {
            "exact": found,
            "words_at_once": fours and not graph.fixed_point,
            "ahead": run_of(shape.result[1]),
        }
    arguments = (
        Read(node.inputs[0]),
        Flash(words, f"weights_{node.name}"),
        *constants,
        Scratch(rows * columns * 2 + 2),  # a pair may begin at the last element
        Write(node.outputs[0]),
    )
    return Call(template, params, arguments, reuse)


def _integer_columns(
    node: Node, graph: Graph, weights: Array, bias: Array, factors: Array, shape: Window,
    params: dict[str, object], tile: int, reuse: tuple[tuple[str, str], ...],
) -> Call:  # fmt: skip
    """Dense or grouped, `weights` int8 [outputs, inputs of a group, height, width]."""
    groups, pixels = int(str(params["groups"])), math.prod(shape.result)
    by_group = weights.reshape(groups, len(weights) // groups, -1)
    if graph.lanes > 1 and lanes.exact(by_group.shape[2], node.quants[0].dtype):
        kind = {**params, **lanes.INTEGER}
        return lanes.convolution(
            node, graph.lanes, by_group, bias, (factors,), kind, min(tile, pixels), reuse
        )
    multiplier = Flash(factors, f"scale_{node.name}")
    if node.quants[0].dtype == np.int8:
        if graph.vectors:
            return vectors.convolution(node, weights, bias, multiplier, params, tile, reuse)
        if graph.scalable and scalable.takes(factors):
            return scalable.convolution(node, weights, bias, multiplier, params, tile, reuse)
        if graph.registers and pixels > 1:
            return registers.convolution(node, weights, bias, multiplier, params, tile, reuse)
    weights = by_couples(weights)
    by_group = weights.reshape(by_group.shape)
    depth = cut(by_group.shape[2], LONGEST_OF_COLUMNS)
    tile = next(t for t in range(min(tile, MOST_PIXELS, pixels), 0, -1) if depth.reaches(t))
    found = exactly(node, graph, weights, bias, factors, 2, groups)
    blocks = None if found is None else packed_blocks(found.weights.reshape(by_group.shape), 2, depth, found)
    params = {
        **params, "depth": depth.depth, "cut": depth, "tile": tile,
        "exact": None if blocks is None else found,
    }  # fmt: skip
    flash: list[Argument]
    if blocks is None:
        pairs = Flash(packed_pairs(by_group, 2, depth), f"weights_{node.name}")
        flash = [pairs, Flash(bias, f"bias_{node.name}"), multiplier]
    else:
        flash = [Flash(blocks, f"weights_{node.name}")]
    column = Scratch(depth.stride * tile * 2)
    arguments = (Read(node.inputs[0]), *flash, column, Write(node.outputs[0]))
    return Call("conv_tiled_int8.c.j2", params, arguments, reuse)


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


INTEGER = {"Conv": accepts}
CLAMPS = frozenset({"Conv"})
OPERATORS = {"Conv": lower_conv}
