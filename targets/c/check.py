"""Can this model become C for this target? Answered without compiling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from onnx import ModelProto

from sprue.backend import Finding, Pass, Variant
from sprue.errors import SprueError
from sprue.passes.expand import Expand
from sprue.passes.simplify import Simplify
from sprue.passes.widen import Widen
from sprue.target import Precision, Target

from .._findings import scale_findings
from . import limits
from .golden import reference
from .lower import Program, lower, operators
from .machine import machine
from .nodes import Unsupported
from .read import read_graph
from .rewrite import rewrite

PAIRED = ("QLinearConv", "QLinearMatMul")
"""They become QDQ pairs, which `rewrite.py` folds into the integer kernels."""
FIRST_OUTPUT_ONLY = ("LayerNormalization",)
"""Of these the kernels give nothing but the first result."""


def shaping() -> tuple[Pass, ...]:
    """The passes before any quantization: one sample at a time, of operators that have kernels.

    Expanded again at the end: onnxruntime, which simplifies, writes out what it lacks itself.
    """
    keep = tuple(sorted({*operators(), *PAIRED}))
    expanded = Expand(keep=keep, batch=1, first_output_only=FIRST_OUTPUT_ONLY)
    return expanded, Widen(), Simplify(batch=1), expanded


def lowered(
    model: ModelProto,
    *,
    fixed_point: bool = False,
    vectors: bool = False,
    registers: bool = False,
    scalable: bool = False,
    lanes: int = 1,
) -> tuple[Program | None, list[Finding]]:
    """The program of a model whose shapes are all fixed, or everything that stands in its way.

    `fixed_point`: for a processor without floats, see `fixed_point.py`. `vectors`: for one that multiplies
    sixteen bytes at once, see `vectors.py`. `registers`: for one with many, see `registers.py`. `scalable`:
    for one with vectors of any length, see `scalable.py`. `lanes`: float32 numbers in its vectors, see
    `lanes.py`.
    """
    graph, findings = read_graph(model)
    if findings:
        return None, [_without_kernel(f) or f for f in findings]
    try:
        suited = replace(
            rewrite(graph), fixed_point=fixed_point, vectors=vectors, registers=registers, scalable=scalable,
            lanes=lanes,
        )  # fmt: skip
        return lower(suited)
    except Unsupported as error:
        return None, [Finding("operator", "", "", error.reason, error.remedy)]


def lowered_for(model: ModelProto, target: Target) -> tuple[Program | None, list[Finding]]:
    """`lowered` with the kernels that suit the target. Raises SprueError for a processor without a row."""
    processor = machine(target)
    return lowered(
        model,
        fixed_point=not processor.floats,
        vectors=processor.vectors,
        registers=processor.registers,
        scalable=processor.scalable,
        lanes=processor.lanes,
    )


def _without_kernel(finding: Finding) -> Finding | None:
    """Of an operator that has no kernel it says nothing that its shape is not known either."""
    if finding.kind != "shape" or not finding.op or finding.op in operators():
        return None
    error = Unsupported(f"the operator {finding.op} has no C kernel")
    return Finding("operator", finding.node, finding.op, error.reason, error.remedy)


def check(model: ModelProto, variant: Variant, precisions: Sequence[Precision]) -> list[Finding]:
    """Unsupported operators, shapes and limits of the source model, as it will be after Simplify.

    For int8-static the limits are a lower bound: one byte for each weight and activation.
    """
    if variant.precision not in precisions:
        offered = ", ".join(precisions)
        reason = f"the C backend has no {variant.precision}"
        return [Finding("precision", "", "", reason, f"it offers {offered}")]
    try:
        machine(variant.target)
    except SprueError as error:
        return [Finding("precision", "", "", error.what, error.remedy)]
    if bad := scale_findings(model):
        return bad
    try:
        simple = model
        for change in shaping():
            simple = change.apply(simple, {})
    except SprueError as error:
        return list(_foreign(model)) or [Finding("shape", "", "", error.what, error.remedy)]
    program, findings = lowered_for(simple, variant.target)
    if program is None:
        return findings
    try:
        reference(simple)
    except SprueError as error:
        return [Finding("operator", "", "", error.what, error.remedy)]
    int8 = variant.precision == "int8-static"
    need = limits.least_need(program, int8=int8)
    return limits.findings(program, need, variant.target, quantized=int8)


def _foreign(model: ModelProto) -> Iterator[Finding]:
    """Operators that are not ONNX's own: nothing can simplify a graph with them, let alone lower it."""
    for index, node in enumerate(model.graph.node):
        if node.domain not in ("", "ai.onnx"):
            name = node.name or f"{node.op_type}_{index}"
            reason = f"the operator {node.domain}.{node.op_type} has no C kernel"
            yield Finding("operator", name, node.op_type, reason, "export the model with standard operators")
