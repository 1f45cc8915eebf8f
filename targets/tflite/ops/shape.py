"""Operators that move elements, or only rename their axes, and casts."""

from __future__ import annotations

import numpy as np
from onnx import helper

from ..emit import Shape, Tensor, Unsupported
from ..layout import Graph, Laid
from ..registry import Node, computable, lowers

CASTS = frozenset(
    {"float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64"}
    | {"uint8", "uint16", "uint32", "bool"}
)

COMPARED = frozenset({"int32", "int64"})
"""What NOT_EQUAL knows of integers: of others it compares half of the elements, or ends the process."""
BLOCKS = frozenset({"float32", "uint8", "int8", "int32", "int64"})
"""What DEPTH_TO_SPACE and SPACE_TO_DEPTH know."""


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(g: Graph, node: Node) -> Tensor:
    """The output's shape is known, so what the other inputs say need not be."""
    return g.reshape(g.tensor(node.input(0)), node.outputs[0].shape)


@lowers("Identity", "Dropout", "StopGradient")
def same(g: Graph, node: Node) -> list[Laid]:
    value = node.input(0)
    if node.op == "Dropout":
        training = node.optional_constant(2, "training_mode")
        if training is not None and bool(training):
            raise Unsupported("dropout in training mode", "export the model for inference")
    held = [] if value.const is not None else list(value.views.items())
    perm, tensor = held[0] if held else (tuple(range(value.rank)), g.tensor(value))
    made: list[Laid] = [(tensor, perm)]
    if len(node.outputs) > 1 and node.outputs[1].name:
        ones = np.ones(node.outputs[1].shape, node.outputs[1].dtype)
        made.append((g.constant(ones), tuple(range(ones.ndim))))
    return made


@lowers("Transpose")
def transpose(g: Graph, node: Node) -> Laid:
    """Nothing moves: a tensor that holds the input in order p holds the output in another order."""
    value = node.input(0)
    perm = node.integers("perm", range(value.rank)[::-1])
    if sorted(perm) != list(range(value.rank)):
        raise Unsupported(
            f"its permutation {perm} is none of the input's {value.rank} axes", "correct the model"
        )
    if value.const is not None:
        return g.constant(value.const.transpose(perm)), tuple(range(value.rank))
    held, tensor = next(((p, t) for p, t in value.views.items() if p == tuple(perm)), g.held(value))
    return tensor, tuple(perm.index(axis) for axis in held)


@lowers("Expand")
def expand(g: Graph, node: Node) -> Tensor:
    value = node.input(0)
    shape = node.outputs[0].shape
    x = g.reshape(g.tensor(value), (1,) * (len(shape) - value.rank) + value.shape)
    if len(shape) > 8:
        raise Unsupported(f"broadcasting over {len(shape)} axes; TFLite has 8")
    return g.broadcast(x, shape)


@lowers("Tile")
def tile(g: Graph, node: Node) -> Tensor:
    value = node.input(0)
    shape = node.outputs[0].shape
    repeats = [o // i for o, i in zip(shape, value.shape, strict=True)]
    return g.op("TILE", [g.tensor(value), g.constant(repeats, np.int32)], shape, value.dtype)


@lowers("Cast", "CastLike")
def cast(g: Graph, node: Node) -> Laid:
    """Float to integer truncates; what is out of range is undefined in ONNX, too."""
    value, wanted = node.input(0), node.outputs[0].dtype
    for dtype in (value.dtype, wanted):
        if dtype.name not in CASTS:
            raise Unsupported(f"a cast of {value.dtype.name} to {wanted.name}", "use another type")
    if node.op == "Cast" and np.dtype(helper.tensor_dtype_to_np_dtype(node.integer("to"))) != wanted:
        raise Unsupported("the cast's type differs from its output's", "correct the model")
    perm, tensor = next(iter(value.views.items())) if value.views else (None, None)
    if tensor is None or perm is None:
        return g.cast(g.tensor(value), wanted), tuple(range(value.rank))
    if wanted == np.bool_ and value.dtype != np.bool_:
        wide = np.dtype(np.float32) if value.dtype.kind == "f" else computable(value.dtype, COMPARED)
        return g.compare("NOT_EQUAL", g.cast(tensor, wide), 0), perm
    return g.cast(tensor, wanted), perm


@lowers("DepthToSpace", "SpaceToDepth")
def depth_space(g: Graph, node: Node) -> Tensor | Laid:
    """TFLite's kernels are ONNX's DCR order in NHWC; CRD is a transpose of six axes."""
    value = node.input(0)
    n, c, h, w = value.shape
    block = node.integer("blocksize", 1)
    out = node.outputs[0].shape
    if node.op == "DepthToSpace" and node.text("mode", "DCR") == "CRD":
        split = g.reshape(g.tensor(value), (n, c // block**2, block, block, h, w))
        return g.reshape(g.transpose(split, (0, 1, 4, 2, 5, 3)), out)
    if node.op == "SpaceToDepth" and node.text("mode", "DCR") == "CRD":
        split = g.reshape(g.tensor(value), (n, c, h // block, block, w // block, block))
        return g.reshape(g.transpose(split, (0, 1, 3, 5, 2, 4)), out)
    x = g.cast(g.view(value, (0, 2, 3, 1)), computable(value.dtype, BLOCKS))
    code = "DEPTH_TO_SPACE" if node.op == "DepthToSpace" else "SPACE_TO_DEPTH"
    shape: Shape = (out[0], out[2], out[3], out[1])
    return g.cast(g.op(code, [x], shape, x.dtype, blockSize=block), value.dtype), (0, 2, 3, 1)
