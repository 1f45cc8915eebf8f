"""The artifact's folder: C sources, self-test, firmware, report; around them, what `project` writes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.backend import Variant
from sprue.canonical import canonical, parse
from sprue.errors import SprueError

from . import toolchain
from .elf import read_firmware
from .emit import Port, Source, render, runtime_functions
from .golden import Golden, golden_vectors, tolerance
from .literals import c_array, c_float
from .lower import Program
from .machine import Machine
from .project import write_project

FIRMWARE = "firmware.elf"
REPORT = "report.json"
MAX_REPORT = 64 * 2**20
PREFIX = "model"
STACK_ROOM = 256 * 1024
"""RAM that the linker script leaves for the stack beside the arena, at least: what does not fit a board is
measured and reported, not hidden behind a linker error."""


def write_artifact(
    out: Path, model: ModelProto, program: Program, source: Source, variant: Variant, machine: Machine,
    samples: Mapping[str, NDArray[np.generic]],
) -> None:  # fmt: skip
    """Write everything and build the firmware. Deterministic for a given model, target and toolchain."""
    golden = golden_vectors(model, samples)
    (out / "test").mkdir()
    quantized = variant.precision != "float32"
    _write(out / "test" / "selftest.c", _selftest(model, source, golden, quantized=quantized))
    write_project(out, source, machine, program.graph.name, PREFIX)
    write_firmware(out, program, source, variant, machine)


def write_firmware(out: Path, program: Program, source: Source, variant: Variant, machine: Machine) -> None:
    """The part of an artifact that runs: sources, the firmware made of them, and the report on it."""
    for port in (*source.inputs, *source.outputs):
        if len(port.value.shape) > 8:
            raise SprueError(f"'{port.name}' has more than 8 dimensions", remedy="reshape it in the model")
    src, device = out / "src", out / "firmware"
    for folder in (src, device):
        folder.mkdir()
    for name, text in source.files.items():
        _write(src / name, text)
    _write(device / "main.c", _main(source))
    _write(device / "boot.c", render(machine.isa.boot, {}))
    _write(device / "link.ld", _linker_script(source, variant, machine))
    build(out, machine)
    (out / REPORT).write_bytes(canonical(_report(out, program, source, variant)) + b"\n")


def build(artifact: Path, machine: Machine) -> None:
    """Compile the artifact's sources to its firmware."""
    sources = [f"src/{PREFIX}.c", "firmware/main.c", "firmware/boot.c"]
    toolchain.build_firmware(artifact, sources, machine, ("src",), "firmware/link.ld", FIRMWARE)


def rebuilt(artifact: Path, machine: Machine, folder: Path) -> Path:
    """The firmware of an artifact's sources for another core of the same architecture, in `folder`."""
    for name in ("src", "firmware"):
        shutil.copytree(artifact / name, folder / name)
    build(folder, machine)
    return folder / FIRMWARE


@dataclass(frozen=True)
class Reported:
    """`steps`: node and operator of each call that `run` makes, in order. `bound`: bytes of the arena that no
    plan could do without.
    """

    steps: tuple[tuple[str, str], ...]
    bound: int


def read_report(artifact: Path) -> Reported:
    """Raises SprueError if the report is missing or damaged."""
    path = artifact / REPORT
    try:
        if path.stat().st_size > MAX_REPORT:
            raise ValueError("too large")
        report = parse(path.read_bytes())
        steps = tuple((str(s["node"]), str(s["op"])) for s in report["steps"])
        return Reported(steps, int(report["arena"]["lower_bound"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SprueError(
            f"the report on the artifact is missing or damaged ({error})",
            where=str(path),
            remedy="build it again",
        ) from error


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _selftest(model: ModelProto, source: Source, golden: Golden, *, quantized: bool) -> str:
    def described(port: Port, kind: str, values: NDArray[np.generic]) -> dict[str, object]:
        limit = tolerance(model, port.name, values, quantized=quantized) if kind == "output" else None
        half = values.dtype == np.float16
        return {
            "kind": kind, "symbol": port.symbol, "type": port.type, "count": max(port.value.size, 1),
            "texts": [c_array(v) for v in values],
            "tolerance": None if limit is None else c_float(limit),
            "compared": "float" if half else port.type,
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


def _main(source: Source) -> str:
    ports = [
        {
            "accessor": f"{PREFIX}_{kind}_{port.symbol}",
            "name": port.name, "count": port.value.size, "dtype": port.value.dtype.name,
            "rank": len(port.value.shape), "shape": ", ".join(map(str, port.value.shape)) or "0",
        }
        for kind, group in (("input", source.inputs), ("output", source.outputs))
        for port in group
    ]  # fmt: skip
    name_bytes = max(len(str(p["name"]).encode()) for p in ports) + 1
    params = {
        "prefix": PREFIX, "guard": PREFIX.upper(),
        "inputs": len(source.inputs), "outputs": len(source.outputs),
        "ports": ports, "name_bytes": -(-name_bytes // 4) * 4,
    }  # fmt: skip
    return render("main.c.j2", params)


def _linker_script(source: Source, variant: Variant, machine: Machine) -> str:
    ram = max(variant.target.limit_ram or 0, source.arena_bytes + STACK_ROOM)
    flash = max(variant.target.limit_flash or 0, source.constants_bytes + 1024 * 1024)
    params = {
        "isa": machine.isa.name,
        "flash_origin": machine.isa.flash_origin, "flash_length": -(-flash // 8) * 8,
        "ram_origin": machine.isa.ram_origin, "ram_length": -(-ram // 8) * 8,
    }  # fmt: skip
    return render("link.ld.j2", params)


def _report(out: Path, program: Program, source: Source, variant: Variant) -> dict[str, object]:
    firmware = read_firmware(out / FIRMWARE)
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
        "flash": {"bytes": firmware.flash, "weights": source.constants_bytes},
        "static_ram": firmware.ram,
        "kernels": source.kernels,
        "steps": [
            {"kernel": c.call.template.split(".")[0], "node": c.node.name, "op": c.node.op}
            for c in program.calls
        ],
        "precision": variant.precision,
        "target": variant.target.id,
    }
