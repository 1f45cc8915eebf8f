"""The artifact's folder: sources, self-test, firmware or library, report; and what `project` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.backend import Variant
from sprue.border import Border, read_border
from sprue.canonical import canonical, read_json
from sprue.errors import SprueError

from . import firmware, library
from .emit import Port, Source, render, runtime_functions
from .golden import STEPS, Golden, golden_vectors, tolerance
from .literals import c_array, c_float
from .lower import Program
from .machine import Machine
from .project import PREFIX, write_project, write_text

REPORT = "report.json"


def write_artifact(
    out: Path, model: ModelProto, program: Program, source: Source, variant: Variant, machine: Machine,
    samples: Mapping[str, NDArray[np.generic]],
) -> None:  # fmt: skip
    """Write everything and build what runs. Deterministic for a given model, target and toolchain."""
    golden = golden_vectors(model, samples)
    quantized = variant.precision != "float32"
    write_text(out / "test" / "selftest.c", _selftest(model, source, golden, quantized=quantized))
    write_project(out, source, machine, program.graph.name)
    write_runnable(out, program, source, variant, machine)


def write_runnable(out: Path, program: Program, source: Source, variant: Variant, machine: Machine) -> None:
    """The part of an artifact that runs: sources, what is made of them, and the report on it."""
    for port in (*source.inputs, *source.outputs):
        if len(port.value.shape) > 8:
            raise SprueError(f"'{port.name}' has more than 8 dimensions", remedy="reshape it in the model")
    for name, text in source.files.items():
        write_text(out / "src" / name, text)
    report = _report(program, source, variant)
    if machine.hosted:
        made = library.write_library(out, machine)
        described = asdict(library.interface(source, out / library.LIBRARY))
        report |= {"flash": made.file, "static_ram": made.ram, "interface": described}
    else:
        image = firmware.write_firmware(out, source, variant.target, machine)
        report |= {"flash": image.flash, "static_ram": image.ram}
    if source.border is not None:
        report["border"] = source.border.to_json()
    report["flash"] = {"bytes": report["flash"], "weights": source.constants_bytes}
    (out / REPORT).write_bytes(canonical(report) + b"\n")


@dataclass(frozen=True)
class Reported:
    """`steps`: node and operator of each call that `run` makes, in order. `arena`: its bytes; `bound`: those
    that no plan could do without. `interface`: of a host's library; a firmware describes itself. `border`:
    where any of it became int8.
    """

    steps: tuple[tuple[str, str], ...]
    arena: int
    bound: int
    interface: library.Interface | None = None
    border: Border | None = None


def read_report(artifact: Path) -> Reported:
    """Raises SprueError if the report is missing or damaged."""
    path = artifact / REPORT
    try:
        report = read_json(path)
        steps = tuple((str(s["node"]), str(s["op"])) for s in report["steps"])
        arena, bound = (int(report["arena"][key]) for key in ("bytes", "lower_bound"))
        described = report.get("interface")
        interface = library.read_interface(described) if described else None
        border = read_border(report["border"]) if "border" in report else None
        return Reported(steps, arena, bound, interface, border)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SprueError(
            f"the report on the artifact is missing or damaged ({error})",
            where=str(path),
            remedy="build it again",
        ) from error


def _selftest(model: ModelProto, source: Source, golden: Golden, *, quantized: bool) -> str:
    def described(port: Port, kind: str, values: NDArray[np.generic]) -> dict[str, object]:
        limit = tolerance(model, port.name, values, quantized=quantized) if kind == "output" else None
        half = values.dtype == np.float16
        whole = kind == "output" and port.edge is not None
        allowed = None if limit is None else c_float(limit)
        return {
            "kind": kind, "symbol": port.symbol, "type": port.type, "count": max(port.value.size, 1),
            "texts": [c_array(v) for v in values],
            "tolerance": str(STEPS) if whole else allowed,
            "compared": "float" if half else "int32_t" if whole else port.type,
            "got": "sprue_from_half(got)" if half else "got",
            "want": "sprue_from_half(want)" if half else "want",
        }  # fmt: skip

    halves = any(p.value.dtype == np.float16 for p in source.outputs)
    return render(
        "selftest.c.j2",
        {
            "prefix": PREFIX,
            "samples": golden.samples,
            "runtime": runtime_functions("sprue_from_half") if halves else [],
            "inputs": [described(p, "input", golden.inputs[p.name]) for p in source.inputs],
            "outputs": [described(p, "output", golden.outputs[p.name]) for p in source.outputs],
        },
    )


def _report(program: Program, source: Source, variant: Variant) -> dict[str, object]:
    offsets = program.plan.offsets
    blocks = [
        {
            "name": b.name.strip("\0"),
            "offset": offsets[b.name],
            "spans": [{"bytes": s.bytes, "first": s.first, "last": s.last} for s in b.spans],
        }
        for b in sorted(program.blocks, key=lambda b: (b.first, offsets[b.name], b.name))
    ]
    return {
        "arena": {"bytes": source.arena_bytes, "lower_bound": program.plan.bound, "blocks": blocks},
        "kernels": source.kernels,
        "steps": [
            {"kernel": c.call.template.split(".")[0], "node": c.node.name, "op": c.node.op}
            for c in program.calls
        ],
        "precision": variant.precision,
        "target": variant.target.id,
    }
