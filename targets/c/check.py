"""Can this model become C for this target? Answered without compiling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from onnx import ModelProto

from sprue.backend import Finding, Pass, Variant
from sprue.errors import SprueError
from sprue.passes.expand import Expand
from sprue.passes.simplify import Simplify
from sprue.target import Precision

from .golden import reference
from .lower import Program, lower, operators
from .machine import machine
from .memory import lower_bound
from .nodes import Flash, Read, Unsupported
from .read import read_graph
from .rewrite import rewrite


def shaping() -> tuple[Pass, ...]:
    """The passes before any quantization: one sample at a time, of operators that have kernels."""
    return Expand(keep=tuple(sorted(operators())), batch=1), Simplify(batch=1)


def lowered(model: ModelProto, *, fixed_point: bool = False) -> tuple[Program | None, list[Finding]]:
    """The program of a model whose shapes are all fixed, or everything that stands in its way.

    `fixed_point`: for a processor without floats, see `fixed_point.py`.
    """
    graph, findings = read_graph(model)
    if findings:
        return None, findings
    try:
        return lower(replace(rewrite(graph), fixed_point=fixed_point))
    except Unsupported as error:
        return None, [Finding("operator", "", "", error.reason, error.remedy)]


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
    try:
        simple = model
        for change in shaping():
            simple = change.apply(simple, {})
    except SprueError as error:
        return list(_foreign(model)) or [Finding("shape", "", "", error.what, error.remedy)]
    program, findings = lowered(simple)
    if program is None:
        return findings
    try:
        reference(simple)
    except SprueError as error:
        return [Finding("operator", "", "", error.what, error.remedy)]
    return _limits(program, variant)


def _foreign(model: ModelProto) -> Iterator[Finding]:
    """Operators that are not ONNX's own: nothing can simplify a graph with them, let alone lower it."""
    for index, node in enumerate(model.graph.node):
        if node.domain not in ("", "ai.onnx"):
            name = node.name or f"{node.op_type}_{index}"
            reason = f"the operator {node.domain}.{node.op_type} has no C kernel"
            yield Finding("operator", name, node.op_type, reason, "export the model with standard operators")


def _limits(program: Program, variant: Variant) -> list[Finding]:
    int8 = variant.precision == "int8-static"
    ram = _int8_arena(program) if int8 else program.plan.bytes
    flash = weight_bytes(program, int8=int8)
    least = "at least " if int8 else ""
    found = []
    target = variant.target
    for what, need, limit, remedy in (
        ("RAM", ram, target.limit_ram, "a smaller model or input, or a larger limit.ram"),
        ("flash", flash, target.limit_flash, "a smaller model, or a larger limit.flash"),
    ):
        if limit is not None and need > limit:
            use = "its tensors" if what == "RAM" else "its weights"
            reason = f"{use} need {least}{need} bytes of {what}, the limit is {limit}"
            better = f"int8-static, {remedy}" if not int8 else remedy
            found.append(Finding("limit", "", "", reason, better))
    return found


def weight_bytes(program: Program, *, int8: bool) -> int:
    """Bytes of constants in flash; with `int8`, one byte per element of what is float32 now."""
    seen: set[tuple[str, bytes]] = set()
    total = 0
    for placed in program.calls:
        for argument in placed.call.arguments:
            if isinstance(argument, Flash):
                data = argument.data
            elif isinstance(argument, Read) and _root(program, argument.name) in program.graph.constants:
                data = program.graph.constants[_root(program, argument.name)]
            else:
                continue
            key = (data.dtype.name, data.tobytes())
            if key not in seen:
                seen.add(key)
                total += data.size if int8 and data.dtype == np.float32 else data.nbytes
    return total


def _root(program: Program, name: str) -> str:
    return program.roots.get(name, name)


def _int8_arena(program: Program) -> int:
    """The lower bound of the arena if every float tensor took one byte per element, without scratch."""
    blocks = [
        replace(block, spans=tuple(replace(s, bytes=max(s.bytes // 4, 1)) for s in block.spans))
        for block in program.blocks
        if block.name in program.values
    ]
    return max(lower_bound(blocks), _border(program))


def _border(program: Program) -> int:
    """Inputs and outputs keep their dtype."""
    values = program.graph.values
    return max(sum(values[n].bytes for n in names) for names in (program.graph.inputs, program.graph.outputs))
