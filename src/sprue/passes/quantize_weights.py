"""QuantizeWeights: weights are stored in 8 bits and widened when the file is loaded; the network computes in
float.

A quarter of the size, the speed of float32, and far less noise than int8 activations make. Standard ONNX:
onnxruntime folds what widens them into float32 constants, OpenVINO knows it as compressed weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.errors import CheckError
from sprue.graph import attributes, normalise
from sprue.passes.masks import LARGE
from sprue.passes.normal_form import names_read, normal_form
from sprue.passes.quantize_static import RECURRENT, check_weights

if TYPE_CHECKING:
    from sprue.backend import Samples

Float = NDArray[np.float32]

READERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", *RECURRENT)
"""What has weights to store; a table that is added is stored too, but makes no network worth it."""
LEVELS = 255
TINY = np.float16(6e-8)
"""The smallest scale in half precision: a channel of zeros, or nearly, has no use for a smaller one."""


@dataclass(frozen=True)
class QuantizeWeights:
    """Store weights and tables as uint8 with a zero point and a scale for each channel or row.

    Before::

        x -> MatMul(w) -> y

    After::

        x -> MatMul(Mul(Sub(Cast(w uint8), Cast(zero uint8)), Cast(scale float16))) -> y

    `half`: names of weights that are stored in float16 instead, in two bytes each. What would not become
    smaller stays as it is, and so do biases, normalisations and masks.
    """

    half: tuple[str, ...] = ()

    version: ClassVar[int] = 1
    needs_calibration: ClassVar[bool] = False

    def tools(self) -> dict[str, str]:
        return {name: version(name) for name in ("numpy", "onnx")}

    def apply(self, model: ModelProto, calibration: Samples) -> ModelProto:
        """The model with small weights. Raises SprueError for weights that are NaN or infinite, CheckError
        where it has none that would become smaller.
        """
        check_weights(model)
        made = normalise(model)
        found = stored_weights(made)
        if not found:
            raise CheckError(
                "no weights would become smaller in 8 bits", remedy="leave 'int8-weights' out of `precision`"
            )
        tensors = {t.name: t for t in made.graph.initializer}
        taken = {*names_read(made.graph.node), *tensors, *(o for n in made.graph.node for o in n.output)}
        added: list[NodeProto] = []
        for index, (name, axes) in enumerate(found.items()):
            array = numpy_helper.to_array(tensors[name])
            made.graph.initializer.remove(tensors[name])
            prefix = _unused(f"w{index}", taken)
            parts: list[NDArray[np.generic]] = (
                [array.astype(np.float16)] if name in self.half else list(quantized(array, axes))
            )
            names = [prefix + "qzs"[i] for i in range(len(parts))]
            stored = [numpy_helper.from_array(p, n) for p, n in zip(parts, names, strict=True)]
            made.graph.initializer.extend(stored)
            added += _widened(names, name)
        before = list(made.graph.node)
        made.graph.ClearField("node")
        made.graph.node.extend([*added, *before])
        return normal_form(made)


def stored_weights(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The weights that become smaller in 8 bits, in the order in which they are read, and for each the axes
    that share a scale. What anything but a layer, an embedding or an addition reads is none.
    """
    given = {v.name for v in (*model.graph.input, *model.graph.output)}
    arrays = {
        t.name: numpy_helper.to_array(t)
        for t in model.graph.initializer
        if t.data_type == TensorProto.FLOAT and t.name not in given
    }
    places: dict[str, list[tuple[int, ...] | None]] = {}
    for node, slot, name in _reads(model):
        if name in arrays:
            places.setdefault(name, []).append(_axes(node, slot, arrays[name].ndim))
    found = {}
    for name, axes in places.items():
        first = axes[0]
        if first is not None and None not in axes and _pays(arrays[name], first):
            found[name] = first
    return found


def quantized(
    array: Float, axes: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float16]]:
    """uint8 values, their zero points and their scales, the latter two with length 1 along `axes`.

    (values - zero) * scale is what was rounded. The range holds 0, and the scale is rounded up, so that
    nothing is clipped by more than half a step.
    """
    wide = array.astype(np.float64)
    low = np.minimum(wide.min(axis=axes, keepdims=True), 0)
    high = np.maximum(wide.max(axis=axes, keepdims=True), 0)
    exact = (high - low) / LEVELS
    scale = exact.astype(np.float16)
    scale = np.maximum(np.where(scale < exact, np.nextafter(scale, np.float16(np.inf)), scale), TINY)
    step = scale.astype(np.float64)
    zero = np.clip(np.rint(-low / step), 0, LEVELS)
    values = np.clip(np.rint(wide / step) + zero, 0, LEVELS)
    return values.astype(np.uint8), zero.astype(np.uint8), scale


def widened(values: NDArray[np.uint8], zero: NDArray[np.uint8], scale: NDArray[np.float16]) -> Float:
    """What a runtime makes of `quantized`, in float32 as it does."""
    made: Float = (values.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
    return made


def _widened(names: list[str], result: str) -> list[NodeProto]:
    """The nodes that turn what is stored into the float32 tensor `result`."""
    if len(names) == 1:
        return [_cast(names[0], result)]
    values, _, scale = names
    wide = [f"{name}f" for name in names]
    middle = f"{values}d"
    return [
        *map(_cast, names, wide),
        helper.make_node("Sub", [wide[0], wide[1]], [middle], middle),
        helper.make_node("Mul", [middle, wide[2]], [result], f"{scale}m"),
    ]


def _cast(source: str, result: str) -> NodeProto:
    return helper.make_node("Cast", [source], [result], f"{source}c", to=TensorProto.FLOAT)


def _unused(wanted: str, taken: set[str]) -> str:
    while any(name.startswith(wanted) for name in taken):
        wanted = f"_{wanted}"
    return wanted


def _reads(model: ModelProto) -> Iterator[tuple[NodeProto, int, str]]:
    """Who reads a tensor; nodes inside of other nodes as readers of which nothing is known (slot -1)."""
    for node in model.graph.node:
        direct = list(node.input)
        yield from ((node, slot, name) for slot, name in enumerate(direct))
        inner = [n for n in names_read([node]) if n not in direct]
        yield from ((node, -1, name) for name in inner)


def _axes(node: NodeProto, slot: int, rank: int) -> tuple[int, ...] | None:
    """The axes over which the operator sums, or that belong to one row; None if it is no weight of it."""
    known = attributes(node)
    last = (rank - 1,)
    if rank < 2 or slot < 0:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        channel = 0 if node.op_type == "Conv" else 1
        return tuple(a for a in range(rank) if a != channel) if slot == 1 else None
    if node.op_type in ("MatMul", "Gemm"):
        transposed = bool(known.get("transA" if slot == 0 else "transB", 0))
        return last if (slot == 0) != transposed else (rank - 2,)
    if node.op_type in RECURRENT:
        return last if slot in (1, 2) else None
    if node.op_type == "Gather":
        axis = known.get("axis", 0)
        assert isinstance(axis, int)
        return tuple(a for a in range(rank) if a != axis % rank) if slot == 0 else None
    return last if node.op_type == "Add" else None


def _pays(array: Float, axes: tuple[int, ...]) -> bool:
    """Whether its values become fewer bytes; a tensor with one long axis is a bias, and 1e4 is a mask's."""
    if array.size == 0 or array.size == max(array.shape) or np.abs(array).max() >= LARGE:
        return False
    channels = array.size // prod(array.shape[a] for a in axes)
    return bool(channels < array.size)
