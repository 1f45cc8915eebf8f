"""Resize and Upsample: along each axis a table says which input elements an output element is made of.

The tables are what ONNX's reference implementation makes of unit vectors, so that every mode, coordinate
transformation and rounding is ONNX's own. An axis costs its taps: 1 for nearest, 2 for linear, 4 for cubic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ..kernels.nest import contiguous
from ..literals import c_type
from ..nodes import Argument, Array, Call, Flash, Graph, Node, Read, Step, Unsupported, Value, Write

LONGEST = 1 << 12
"""Elements of an axis for which a table is made."""
DECIDING = (
    *("antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "mode"),
    "nearest_mode",
)


@dataclass(frozen=True)
class Taps:
    """For each output position of an axis `indices` and `weights` [positions, taps].

    `outside`: which positions are not made of the input at all, but are the extrapolation value.
    """

    indices: Array
    weights: Array
    outside: Array


def lower_resize(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if x.dtype.name not in ("float32", "int8", "uint8", "int32") or node.quantized:
        raise Unsupported(f"{node.op} of {x.dtype} has no C kernel", "cast it to float32")
    scales = _scales(node, graph, x, y)
    crops = node.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    same = [
        before == after and scale == 1.0 and not crops
        for before, after, scale in zip(x.shape, y.shape, scales, strict=True)
    ]
    found = {
        axis: _taps(node, graph, x.shape, y.shape, axis, scales[axis])
        for axis in range(len(x.shape))
        if not same[axis]
    }
    added = _extrapolated(node, found, y)
    weighted = crops or any(t.weights.shape[1] > 1 or bool((t.weights != 1.0).any()) for t in found.values())
    if weighted and x.dtype != np.float32:
        raise Unsupported(f"{node.op} of {x.dtype} between elements has no C kernel", "cast it to float32")
    tables: list[Argument] = []
    for taps in found.values():
        tables.append(Flash(taps.indices.astype(np.int32), f"from_{node.name}"))
        if weighted:
            tables.append(Flash(taps.weights.astype(np.float32), f"weight_{node.name}"))
    params = {
        "type": c_type(x.dtype),
        "counts": y.shape or (1,),
        "resized": [{"axis": axis, "taps": t.indices.shape[1]} for axis, t in found.items()],
        "weighted": weighted,
        "added": added is not None,
        "at": _place(x, found, weighted=weighted),
    }
    if added is not None:
        tables.append(Flash(added.ravel(), f"outside_{node.name}"))
    return [Call("resize.c.j2", params, (Read(node.inputs[0]), *tables, Write(node.outputs[0])))]


def _place(x: Value, found: Mapping[int, Taps], *, weighted: bool) -> str:
    """The C expression of the input element's index."""
    terms = []
    for axis, stride in enumerate(contiguous(x.shape)):
        position = f"i{axis}"
        if axis in found:
            number = list(found).index(axis)
            tap = f" * {found[axis].indices.shape[1]} + t{number}" if weighted else ""
            position = f"from{number}[i{axis}{tap}]"
        terms.append(f"{position} * {stride}")
    return " + ".join(terms) or "i0"


def _old(node: Node, graph: Graph) -> bool:
    """Before operator set 11: no region, no sizes, one way to find coordinates."""
    return node.op == "Upsample" or graph.opset < 11


def _scales(node: Node, graph: Graph, x: Value, y: Value) -> list[float]:
    """Of each axis: as given, or as the sizes make them."""
    place = 1 if _old(node, graph) else 2
    if "scales" in node.attributes:
        given = [float(s) for s in node.attributes["scales"]]  # type: ignore[attr-defined]  # a list of floats
    elif place == 1 or (node.has(2) and graph.constant(node, 2, "scales").size):
        given = graph.constant(node, place, "scales").ravel().tolist()
    else:
        sizes = graph.constant(node, 3, "sizes").ravel().tolist()
        axes = node.integers("axes", tuple(range(len(x.shape))))
        given = [float(s) / x.shape[a] for s, a in zip(sizes, axes, strict=True)]
        policy = node.text("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            given = [(min if policy == "not_larger" else max)(given)] * len(given)
    node.ignore("keep_aspect_ratio_policy")
    axes = node.integers("axes", tuple(range(len(x.shape))))
    made = [1.0] * len(x.shape)
    for axis, scale in zip(axes, given, strict=True):
        made[axis] = float(np.float32(scale))
    return made


def _taps(
    node: Node, graph: Graph, before: tuple[int, ...], after: tuple[int, ...], axis: int, scale: float
) -> Taps:
    """What the output elements along an axis are made of."""
    if max(before[axis], after[axis]) > LONGEST:
        raise Unsupported(f"{node.op} of an axis of {max(before[axis], after[axis])} elements")
    node.ignore("extrapolation_value", *DECIDING)
    place = node.text("coordinate_transformation_mode", "half_pixel")
    whole = np.isclose(scale * before[axis], after[axis])
    nearest = node.text("mode", "nearest") == "nearest"
    wide = node.integer("antialias", 0) and place != "half_pixel"
    if not whole and (wide or (nearest and place == "half_pixel_symmetric")):
        kind = "with antialias" if wide else "to the nearest"
        reason = f"{node.op} {kind} in {place} by a scale that gives no whole size"
        raise Unsupported(reason, "give sizes instead")
    if place == "pytorch_half_pixel" and after[axis] == 1 and not node.integer("antialias", 0):
        columns: Array = np.eye(1, 1 + before[axis], 1)  # the reference asks whether `scale * size` is 1
    elif node.text("keep_aspect_ratio_policy", "stretch") != "stretch" and _sized(node):
        columns = _by_policy(node, graph, before, axis)
    else:
        crop = _crop(node, graph, axis, len(before))
        # a scale of float32 puts corners a little off, and floor takes the one before
        sized = place == "align_corners" and _sized(node)
        columns = _reference(node, graph, before[axis], scale, crop, after[axis], sized=sized)
    if columns.shape[0] != after[axis]:
        raise Unsupported(f"{node.op} to a size that its scale does not give")
    outside, matrix = np.equal(columns[:, 0], 1), columns[:, 1:]
    counts = (matrix != 0).sum(axis=1)
    taps = int(max(counts.max(initial=1), 1))
    order = np.argsort(matrix == 0, axis=1, kind="stable")[:, :taps]
    return Taps(order, np.take_along_axis(matrix, order, axis=1), outside)


def _crop(node: Node, graph: Graph, axis: int, rank: int) -> tuple[float, float] | None:
    """Of tf_crop_and_resize: from where to where, as parts of the axis."""
    if node.text("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return None
    axes = [a % rank for a in node.integers("axes", tuple(range(rank)))]
    region = graph.constant(node, 1, "region").ravel().tolist()
    if axis not in axes:
        return 0.0, 1.0
    at = axes.index(axis)
    return float(region[at]), float(region[at + len(axes)])


def _sized(node: Node) -> bool:
    return node.op == "Resize" and node.has(3)


def _by_policy(node: Node, graph: Graph, before: tuple[int, ...], axis: int) -> Array:
    """As `_reference`, beside the axis whose size decides the scale of all."""
    axes = [a % len(before) for a in node.integers("axes", tuple(range(len(before))))]
    sizes = dict(zip(axes, graph.constant(node, 3, "sizes").ravel().tolist(), strict=True))
    pick = min if node.text("keep_aspect_ratio_policy", "") == "not_larger" else max
    deciding = pick(axes, key=lambda a: sizes[a] / before[a])
    if axis not in axes or axis == deciding:
        return _reference(node, graph, before[axis], 1.0, None, sizes.get(axis, before[axis]), sized=True)
    constants: dict[str, Array] = {"sizes": np.array([sizes[axis], sizes[deciding]], np.int64)}
    policy = {"keep_aspect_ratio_policy": node.text("keep_aspect_ratio_policy", "")}
    shape = (before[axis], before[deciding])
    return _columns(node, graph, shape, ["x", "", "", "sizes"], constants, policy)


def _reference(
    node: Node, graph: Graph, before: int, scale: float, crop: tuple[float, float] | None, after: int,
    *, sized: bool = False,
) -> Array:  # fmt: skip
    """[after, 1 + before]: the operator, by ONNX's reference implementation, of zeros and each unit vector.

    What it extrapolates is 1 of zeros, and 0 of unit vectors.
    """
    constants: dict[str, Array] = {"scales": np.array([scale], np.float32)}
    names = ["x", "", "scales"]
    if crop is not None or sized:
        constants = {"sizes": np.array([after], np.int64)}
        names = ["x", "", "", "sizes"]
    if crop is not None:
        constants["roi"] = np.array(crop, np.float32)
        names[1] = "roi"
    return _columns(node, graph, (before,), names, constants, {})


def _columns(
    node: Node, graph: Graph, shape: tuple[int, ...], names: list[str], constants: Mapping[str, Array],
    more: Mapping[str, object],
) -> Array:  # fmt: skip
    """The results along axis 0, each unit vector the same along the others."""
    from onnx.reference import ReferenceEvaluator

    kept = {n: node.attributes[n] for n in DECIDING if n in node.attributes}
    if _old(node, graph):
        kept = {"mode": node.text("mode", "nearest"), "coordinate_transformation_mode": "asymmetric"}
        kept |= {"nearest_mode": "floor"}
    columns = []
    for beyond in (1.0, 0.0):
        proto = helper.make_node("Resize", names, ["y"], extrapolation_value=beyond)
        proto.attribute.extend(helper.make_attribute(n, v) for n, v in {**kept, **more}.items())
        graph_of_one = helper.make_graph(
            [proto], "taps",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(a, n) for n, a in constants.items()],
        )  # fmt: skip
        opset = [helper.make_opsetid("", max(graph.opset, 18 if more else 13))]
        evaluator = ReferenceEvaluator(helper.make_model(graph_of_one, opset_imports=opset))
        units = np.zeros((1, shape[0]), np.float32) if beyond else np.eye(shape[0], dtype=np.float32)
        for unit in units:
            wide = np.broadcast_to(unit.reshape(-1, *[1] * (len(shape) - 1)), shape)
            (column,) = evaluator.run(None, {"x": np.ascontiguousarray(wide)})
            columns.append(np.asarray(column).reshape(len(column), -1)[:, 0])
    matrix: Array = np.stack(columns, axis=1)
    return matrix


def _extrapolated(node: Node, found: Mapping[int, Taps], y: Value) -> Array | None:
    """What is added to the result: the extrapolation value where any axis lies outside; None for nothing."""
    value = node.real("extrapolation_value", 0.0)
    outside = np.zeros(y.shape, np.bool_)
    for axis, taps in found.items():
        wide = [1] * len(y.shape)
        wide[axis] = -1
        outside |= taps.outside.reshape(wide).astype(np.bool_)
    return (outside * np.float32(value)).astype(np.float32) if value and outside.any() else None


OPERATORS = {"Resize": lower_resize, "Upsample": lower_resize}
