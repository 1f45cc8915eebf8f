"""Resize and Upsample: along each axis a table says which input elements an output element is made of.

The tables are what ONNX's reference implementation makes of unit vectors, so that every mode, coordinate
transformation and rounding is ONNX's own. An axis costs its taps: 1 for nearest, 2 for linear, 4 for cubic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ..literals import c_type
from ..nest import contiguous
from ..nodes import Argument, Array, Call, Flash, Graph, Node, Read, Step, Unsupported, Value, Write

LONGEST = 1 << 12
"""Elements of an axis for which a table is made."""
DECIDING = (
    *("antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "mode"),
    "nearest_mode",
)


@dataclass(frozen=True)
class Taps:
    """For each output position of an axis `indices` and `weights` [positions, taps]."""

    indices: Array
    weights: Array


def lower_resize(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, y = graph.value(node.inputs[0]), graph.value(node.outputs[0])
    if x.dtype.name not in ("float32", "int8", "uint8", "int32") or node.quantized:
        raise Unsupported(f"{node.op} of {x.dtype} has no C kernel", "cast it to float32")
    scales = _scales(node, graph, x, y)
    same = [
        before == after and scale == 1.0
        for before, after, scale in zip(x.shape, y.shape, scales, strict=True)
    ]
    found = {
        axis: _taps(node, graph, x.shape[axis], y.shape[axis], scales[axis])
        for axis in range(len(x.shape))
        if not same[axis]
    }
    weighted = any(t.weights.shape[1] > 1 or bool((t.weights != 1.0).any()) for t in found.values())
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
        "at": _place(x, found, weighted=weighted),
    }
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


def _scales(node: Node, graph: Graph, x: Value, y: Value) -> list[float]:
    """Of each axis: as given, or as the sizes make them."""
    if node.op == "Upsample" or (node.has(2) and graph.constant(node, 2, "scales").size):
        given = graph.constant(node, 1 if node.op == "Upsample" else 2, "scales").ravel().tolist()
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


def _taps(node: Node, graph: Graph, before: int, after: int, scale: float) -> Taps:
    """What `after` output elements of an axis of `before` are made of."""
    if max(before, after) > LONGEST:
        raise Unsupported(f"{node.op} of an axis of {max(before, after)} elements")
    transformation = node.text("coordinate_transformation_mode", "half_pixel")
    if transformation == "tf_crop_and_resize":
        raise Unsupported("Resize by tf_crop_and_resize has no C kernel", "crop with Slice first")
    node.ignore("extrapolation_value", *DECIDING)
    matrix = _reference(node, graph, before, after, scale)
    counts = (matrix != 0).sum(axis=1)
    taps = int(max(counts.max(initial=1), 1))
    order = np.argsort(matrix == 0, axis=1, kind="stable")[:, :taps]
    return Taps(order, np.take_along_axis(matrix, order, axis=1))


def _reference(node: Node, graph: Graph, before: int, after: int, scale: float) -> Array:
    """[after, before]: the operator, by ONNX's reference implementation, of each unit vector."""
    from onnx.reference import ReferenceEvaluator

    kept = {n: node.attributes[n] for n in DECIDING if n in node.attributes}
    if node.op == "Upsample":
        kept = {"mode": node.text("mode", "nearest"), "coordinate_transformation_mode": "asymmetric"}
        kept |= {"nearest_mode": "floor"}
    names = ["x", "", "scales"]
    proto = helper.make_node("Resize", names, ["y"])
    proto.attribute.extend(helper.make_attribute(n, v) for n, v in kept.items())
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [before])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    scales = numpy_helper.from_array(np.array([scale], np.float32), "scales")
    made = helper.make_model(
        helper.make_graph([proto], "taps", [value], [output], [scales]),
        opset_imports=[helper.make_opsetid("", max(graph.opset, 13))],
    )
    evaluator = ReferenceEvaluator(made)
    columns = []
    for unit in np.eye(before, dtype=np.float32):
        (column,) = evaluator.run(None, {"x": unit})
        columns.append(np.asarray(column))
    matrix: Array = np.stack(columns, axis=1)
    if matrix.shape[0] != after:
        raise Unsupported(f"{node.op} to a size that its scale does not give")
    return matrix


OPERATORS = {"Resize": lower_resize, "Upsample": lower_resize}
