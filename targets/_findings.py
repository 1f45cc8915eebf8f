"""What the CPU backends' `check` say in the same words: precisions, sizes, and known wrong answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from sprue.backend import Finding, Variant
from sprue.graph import attributes, infer_shapes, tensors, weights
from sprue.load import this_machine, unmet
from sprue.passes.normal_form import nodes
from sprue.target import Target

PAIR = ("QuantizeLinear", "DequantizeLinear")


def precision_findings(
    model: ModelProto, variant: Variant, offered: Collection[str], quantizable: Collection[str]
) -> list[Finding]:
    """An unoffered precision, or an int8 one for a model with nothing to quantize."""
    if variant.precision not in offered:
        return [
            Finding(
                "precision",
                "",
                "",
                f"{variant.backend} does not offer {variant.precision}",
                f"use one of {', '.join(offered)}",
            )
        ]
    has = {n.op_type for n in model.graph.node}
    if variant.precision.startswith("int8") and not has & set(quantizable):
        return [
            Finding(
                "precision",
                "",
                "",
                f"{variant.precision} would change nothing: the model has none of {', '.join(quantizable)}",
                f"leave {variant.precision} out of `precision`",
            )
        ]
    return []


def flash_findings(model: ModelProto, variant: Variant) -> list[Finding]:
    """A limit that even the weights alone, in the smallest type of this precision, exceed."""
    limit = variant.target.limit_flash
    if limit is None:
        return []
    bytes_each = {"float32": 4, "float16": 2}.get(variant.precision, 1)
    sizes = {name: w.size for name, w in weights(model).items() if w.dtype == np.float32}
    need = sum(sizes.values()) * bytes_each
    if need <= limit:
        return []
    return [
        Finding(
            "limit",
            "",
            "",
            f"the weights alone are {need} bytes in {variant.precision}, limit.flash is {limit}"
            + _most(model, sizes),
            "use a smaller precision or a smaller model, or raise limit.flash if the device allows it",
        )
    ]


def _most(model: ModelProto, sizes: Mapping[str, int]) -> str:
    """The node that reads the largest weight."""
    largest = max(sizes, key=lambda name: sizes[name])
    reader = next((n for n in nodes(model.graph) if largest in n.input), None)
    return f"; the most in node '{reader.name}' ({reader.op_type})" if reader is not None else ""


@dataclass(frozen=True)
class Deviation:
    """What a runtime takes, and answers otherwise than ONNX says: found by the conformance tests.

    `applies` gets the node, its attributes, and the names of the constants.
    """

    op: str
    what: str
    applies: Callable[[NodeProto, Mapping[str, object], frozenset[str]], bool]


def takes(node: NodeProto, index: int) -> str:
    """The name of the node's input, "" where the optional input is left out."""
    return node.input[index] if index < len(node.input) else ""


def deviation_findings(model: ModelProto, deviations: Collection[Deviation], remedy: str) -> list[Finding]:
    constants = frozenset(weights(model)) | {
        o for n in model.graph.node if n.op_type == "Constant" for o in n.output
    }
    return [
        Finding("operator", node.name or next(iter(node.output), ""), node.op_type, known.what, remedy)
        for node in nodes(model.graph)
        for known in deviations
        if node.op_type == known.op and known.applies(node, attributes(node), constants)
    ]


def scale_findings(model: ModelProto) -> list[Finding]:
    """Constant scales by which runtimes cannot divide: zero, negative, not finite, so small that they become
    zero; and scales of an axis that are not as many as it has elements.

    A channel of zeros among weights that DequantizeLinear unpacks may have a scale of zero.
    """
    known = dict(tensors(model.graph))
    found = []
    for node in nodes(model.graph):
        for name, place in _scales(node).items():
            held = known.get(place)
            if held is None:
                continue
            scales = numpy_helper.to_array(held).astype(np.float32).ravel()
            unpacked = node.op_type == "DequantizeLinear" and node.input[0] in known
            bad = scales[~((scales >= np.finfo(np.float32).tiny) & np.isfinite(scales))]
            if bad.size and not unpacked:
                reason = f"its {name} is {bad[0]:g}: no number that a processor divides by"
                found.append(_of_scales(node, reason))
            elif (count := _counted(model, node, known)) not in (None, scales.size):
                reason = f"its {name} has {scales.size} elements, the axis that they are of has {count}"
                found.append(_of_scales(node, reason))
    return found


def _of_scales(node: NodeProto, reason: str) -> Finding:
    called = node.name or next(iter(node.output), "")
    return Finding("operator", called, node.op_type, reason, "quantize the model again")


def _counted(model: ModelProto, node: NodeProto, known: Mapping[str, TensorProto]) -> int | None:
    """How many scales a pair with one for each part of an axis must have; None where that is not known."""
    given = attributes(node)
    scale = known[node.input[1]] if node.op_type in PAIR and node.input[1] in known else None
    if scale is None or len(scale.dims) != 1 or scale.dims[0] == 1 or given.get("block_size", 0):
        return None
    shape = _shape(model, node.input[0], known)
    axis = given.get("axis", 1)
    if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
        return None
    return shape[axis]


def _shape(model: ModelProto, name: str, known: Mapping[str, TensorProto]) -> list[int | None]:
    """As far as ONNX infers it; [] where it infers nothing."""
    if name in known:
        return list(known[name].dims)
    try:
        graph = infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return []  # said elsewhere
    for value in (*graph.input, *graph.value_info):
        if value.name == name:
            return [
                d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim
            ]
    return []


def _scales(node: NodeProto) -> dict[str, str]:
    """What ONNX calls an input that is a quantization scale -> its name in the graph."""
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
        return {}
    formal = [i.name for i in onnx.defs.get_schema(node.op_type).inputs]
    return {n: held for n, held in zip(formal, node.input, strict=False) if held and n.endswith("_scale")}


def has_wide_dot(target: Target) -> bool:
    """Whether int8 products are summed in 32 bits: everywhere but on x86 without VNNI, which has 16."""
    return target.arch == "aarch64" or any(f in target.features for f in ("avx512-vnni", "avx-vnni"))


def execution(variant: Variant) -> Literal["native", "stand-in"]:
    """Whether this machine is of the target's kind, with all that its processor must have."""
    target = variant.target
    wanted = {"os": target.os, "arch": target.arch, "features": target.features, "runtime": {}, "engine": {}}
    return "stand-in" if unmet(wanted, this_machine()) else "native"
