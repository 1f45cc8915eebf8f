"""ONNX -> freestanding C99 for microcontrollers: weights in flash, one static arena, no heap.

The pipeline: `read` (ONNX -> Graph), `rewrite` (QDQ pairs and activations move into their nodes), `lower`
(nodes -> calls of C kernels, one module of `ops/` per operator family; tensors -> arena, `memory`), `emit` (C
text), `firmware` and `project` (the artifact's folder), `toolchain` (zig), `emulator` (unicorn).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from sprue.backend import Availability, Contract, Finding, Offer, Operator, Pass, Profile, Variant
from sprue.errors import SprueError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from sprue.backend import Samples
    from sprue.facts import Facts
    from sprue.target import Precision, Target

    from .elf import Firmware
    from .emulator import Emulator

INSTALL = "pip install 'sprue[embedded]'"


class CBackend:
    """See the module's docstring. Precisions: float32, and int8-static (QDQ folded into integer kernels)."""

    name = "c"
    version = 6
    precisions: tuple[Precision, ...] = ("float32", "int8-static")
    settings: tuple[str, ...] = ()
    settings_in_artifact: tuple[str, ...] = ()
    writes_description = False

    def available(self) -> Availability:
        from . import emulator, toolchain

        compiles, executes = toolchain.available(), emulator.available()
        missing = [n for n, there in (("ziglang", compiles), ("unicorn", executes)) if not there]
        return Availability(compiles, executes, ", ".join(missing), INSTALL if missing else "")

    def tools(self) -> dict[str, str]:
        found = {}
        for package in ("jinja2", "numpy", "onnx", "onnxruntime", "unicorn", "ziglang"):
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return found

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
            static = QuantizeStatic(float_outputs=True, exclude=variant.float_layers)
            return (*shaped, static, QuantizeRecurrent())
        return shaped

    def needs_calibration(self, variant: Variant) -> bool:
        return True  # the golden vectors of its self-test

    def check(self, model: ModelProto, variant: Variant) -> list[Finding]:
        from .check import check

        return check(model, variant, self.precisions)

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        from .check import lowered
        from .emit import emit
        from .firmware import write_artifact
        from .machine import machine

        processor = machine(variant.target)
        program, findings = lowered(model)
        if program is None:
            first = findings[0]
            where = f"node '{first.node}' ({first.op})" if first.node else ""
            raise SprueError(first.reason, where=where, remedy=first.remedy)
        write_artifact(out, model, program, emit(program), variant, processor, calibration)

    def load(self, artifact: Path, variant: Variant) -> Device:
        from .elf import read_firmware
        from .emulator import Emulator
        from .firmware import FIRMWARE, read_steps
        from .machine import machine

        firmware = read_firmware(artifact / FIRMWARE)
        emulator = Emulator(firmware, machine(variant.target).emulator)
        return Device(firmware, emulator, read_steps(artifact))

    def entry(self, variant: Variant) -> str:
        return "firmware.elf"

    def contract(self, artifact: Path, variant: Variant) -> Contract:
        return Contract({}, variant.target.features)


class Device:
    """A firmware on an emulated processor, batch 1; `run` loops over the samples."""

    execution: ClassVar[Literal["native", "emulated", "stand-in"]] = "emulated"

    def __init__(self, firmware: Firmware, emulator: Emulator, steps: tuple[tuple[str, str], ...]) -> None:
        """`steps`: node and operator of each call that the firmware's `run` makes, in order."""
        self._firmware = firmware
        self._emulator = emulator
        self._steps = steps

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        """[samples, ...] in and out. Raises CheckError when the firmware crashes or hangs."""
        checked = {p.name: self._samples(inputs, p.name) for p in self._firmware.inputs}
        count = min((len(a) for a in checked.values()), default=0)
        rows = [self._emulator.run({n: a[i] for n, a in checked.items()}) for i in range(count)]
        return {
            p.name: np.concatenate([r[p.name] for r in rows])
            if rows and p.shape
            else np.array([r[p.name] for r in rows], p.dtype).reshape(len(rows), *p.shape[1:])
            for p in self._firmware.outputs
        }

    def profile(self) -> Profile:
        """flash: bytes of the loaded image. ram: static data with the arena, plus the measured stack.

        instructions: of one run on zeros, exact; cycles are not known to an emulator.
        """
        zeros: Mapping[str, NDArray[np.generic]] = {
            p.name: np.zeros(p.shape, p.dtype) for p in self._firmware.inputs
        }
        stack = self._emulator.stack(zeros)
        instructions = self._emulator.count(zeros)
        notes = {
            "arena": f"{self._firmware.arena} bytes",
            "stack": f"{stack} bytes, measured",
            "ram": "static data with the arena, plus the measured stack",
            "instructions": "of one run on zeros in unicorn, exact, with skipped conditionals; not cycles",
        }
        return Profile(self._firmware.flash, self._firmware.ram + stack, instructions, notes)

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """Exact instructions of each kernel's call; what `run` itself needs to call them is left out."""
        counted = self._emulator.count_calls(
            {p.name: self._samples(sample, p.name)[0] for p in self._firmware.inputs}
        )
        if len(counted) != len(self._steps):
            raise SprueError(
                f"the firmware makes {len(counted)} calls, its report names {len(self._steps)}",
                remedy="build it again",
            )
        return tuple(
            Operator(node, op, instructions=count)
            for (node, op), count in zip(self._steps, counted, strict=True)
        )

    def _samples(self, inputs: Samples, name: str) -> NDArray[np.generic]:
        port = next(p for p in self._firmware.inputs if p.name == name)
        if name not in inputs:
            raise SprueError(
                f"the input '{name}' is missing", remedy=f"given: {', '.join(sorted(inputs)) or 'nothing'}"
            )
        array = inputs[name]
        if array.dtype != port.dtype or array.shape[1:] != port.shape[1:]:
            raise SprueError(
                f"the input '{name}' is {array.dtype}{list(array.shape)}, "
                f"the firmware takes {port.dtype}[samples, {', '.join(map(str, port.shape[1:]))}]"
            )
        return array


BACKEND = CBackend()
