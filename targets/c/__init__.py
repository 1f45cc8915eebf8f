"""ONNX -> freestanding C99 for microcontrollers and hosts: constant weights, one static arena, no heap.

The pipeline: `read` (ONNX -> Graph), `rewrite` (QDQ pairs and activations move into their nodes), `lower`
(nodes -> calls of C kernels, one module of `ops/` per operator family; tensors -> arena, `memory`), `emit` (C
text), `artifact` and `project` (its folder) with `firmware` or, for a host, `library`, made by `toolchain`
(zig); `device` (an artifact on an `emulator`; `cycles` estimates theirs) and `host`. `check` says what
cannot work, `predict` what will be needed. How int8 is multiplied stands in `dot`, `vectors` and `registers`,
how its sums become bytes in `exact` and `fixed_point`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from sprue.targets._findings import execution

from sprue.backend import Availability, Contract, Finding, Offer, Pass, Prediction, Runner, Variant
from sprue.border import at_border
from sprue.errors import SprueError

if TYPE_CHECKING:
    from onnx import ModelProto

    from sprue.backend import Samples
    from sprue.facts import Facts
    from sprue.target import Precision, Target

INSTALL = "pip install 'sprue[embedded]'"


class CBackend:
    """See the module's docstring. Precisions: float32, and int8-static (QDQ folded into integer kernels)."""

    name = "c"
    version = 12
    precisions: tuple[Precision, ...] = ("float32", "int8-static")
    settings: tuple[str, ...] = ()
    settings_in_artifact: tuple[str, ...] = ()
    int8_border: tuple[Precision, ...] = ("int8-static",)
    writes_description = False

    def available(self) -> Availability:
        from . import toolchain
        from .devices import cycles, qemu, unicorn_core

        compiles, executes = toolchain.available(), unicorn_core.available()
        missing = [n for n, there in (("ziglang", compiles), ("unicorn", executes)) if not there]
        if missing:
            return Availability(compiles, executes, f"{' and '.join(missing)} not installed", INSTALL)
        if not cycles.available():
            return Availability(True, True, "no capstone: cycles are not estimated", INSTALL)
        for program, target in ((qemu.ARM, "cortex-m55"), (qemu.RISCV, "riscv32v")):
            if shutil.which(program) is None:
                lacking = f"no {program}: what only that can run, such as {target}, is prepared, not verified"
                return Availability(True, True, lacking, qemu.INSTALL)
        return Availability(True, True)

    def tools(self, target: Target | None = None) -> dict[str, str]:
        """QEMU is one of them where only that runs the target: with it a verdict may be another."""
        from .devices import qemu

        found = {}
        for package in ("capstone", "jinja2", "numpy", "onnx", "onnxruntime", "unicorn", "ziglang"):
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        program = qemu.ARM if target is None else _needed_qemu(target)
        there = None if program is None else qemu.version(program)
        return found | ({program: there} if program and there else {})

    def offers(self, facts: Facts, target: Target) -> tuple[Offer, ...]:
        """Flash and memory are what a microcontroller is short of: int8 first, whatever the graph."""
        return (
            Offer("int8-static", "a quarter of the flash and of the arena", mixed=True),
            Offer("float32", "what the others are held against"),
        )

    def passes(self, variant: Variant) -> tuple[Pass, ...]:
        from sprue.passes.quantize_recurrent import QuantizeRecurrent
        from sprue.passes.quantize_static import QuantizeStatic

        from .check import shaping

        shaped = shaping()
        if variant.precision == "int8-static":
            static = QuantizeStatic(float_outputs=variant.border != "int8", exclude=variant.float_layers)
            return (*shaped, static, QuantizeRecurrent())
        return shaped

    def needs_calibration(self, variant: Variant) -> bool:
        return True  # the golden vectors of its self-test

    def check(self, model: ModelProto, variant: Variant) -> list[Finding]:
        from .check import check

        return check(model, variant, self.precisions)

    def predict(self, model: ModelProto, variant: Variant, calibration: Samples) -> Callable[[], Prediction]:
        from .predict import prepare

        return prepare(model, variant, self.passes(variant), calibration)

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        from sprue.border import integers
        from sprue.passes.int8_border import int8_border

        from .artifact import write_artifact
        from .check import lowered_for
        from .emit import emit
        from .machine import machine

        processor = machine(variant.target)
        border = None
        if variant.border == "int8":
            model, border = int8_border(model)
            calibration = integers(calibration, border)
        program, findings = lowered_for(model, variant.target)
        if program is None:
            first = findings[0]
            where = f"node '{first.node}' ({first.op})" if first.node else ""
            raise SprueError(first.reason, where=where, remedy=first.remedy)
        source = emit(program, border=border)
        write_artifact(out, model, program, source, variant, processor, calibration)

    def load(self, artifact: Path, variant: Variant) -> Runner:
        """On a microcontroller's emulator, or on this machine if it is of the target's kind."""
        from .devices import device, host

        if self._hosted(variant):
            native = execution(_needing(variant)) == "native"
            library = host.load(artifact, variant.target, native=native)
            return at_border(library, library.border)
        board = device.load(artifact, variant.target)
        return at_border(board, board.border)

    def entry(self, variant: Variant) -> str:
        return "libmodel.so" if self._hosted(variant) else "firmware.elf"

    def contract(self, artifact: Path, variant: Variant) -> Contract:
        from .artifact import read_report

        loader = Path(__file__).with_name("deployed.py") if self._hosted(variant) else None
        border = read_report(artifact).border if variant.border == "int8" else None
        return Contract({}, _needing(variant).target.features, loader=loader, border=border)

    def _hosted(self, variant: Variant) -> bool:
        from .machine import machine

        return machine(variant.target).hosted


def _needed_qemu(target: Target) -> str | None:
    """The program, where only QEMU runs the target."""
    from .machine import machine

    try:
        processor = machine(target)
    except SprueError:  # `check` says so
        return None
    return None if processor.unicorn is not None or processor.qemu is None else processor.qemu.program


def _needing(variant: Variant) -> Variant:
    """With the processor features that the code uses beside those that the target names."""
    from .machine import machine

    return replace(variant, target=replace(variant.target, features=machine(variant.target).needs))


BACKEND = CBackend()
