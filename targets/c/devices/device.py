"""A compiled artifact on an emulated processor: what `load` returns.

unicorn runs what it knows, QEMU the rest. Where neither can, a core of the same architecture stands in: the
artifact's own sources, compiled for that core. int8 is then computed by other instructions, to the same bits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sprue.backend import Operator, Profile
from sprue.errors import SprueError
from sprue.target import Target

from ..artifact import Reported, read_report
from ..firmware import FIRMWARE, rebuilt
from ..machine import machine, stand_in
from . import qemu
from .elf import Firmware, Port, read_firmware
from .emulator import Emulator
from .unicorn_core import UnicornCore

if TYPE_CHECKING:
    from sprue.backend import Samples

Execution = Literal["native", "emulated", "stand-in"]


def load(artifact: Path, target: Target) -> Device:
    """Raises SprueError for a damaged artifact, CheckError for a firmware that does not start."""
    firmware, processor = read_firmware(artifact / FIRMWARE), machine(target)
    if firmware.machine != processor.isa.elf:
        raise SprueError("the firmware is for another processor", remedy="build it for this target")
    reported = read_report(artifact)
    if processor.unicorn is not None:
        return Device(firmware, Emulator(firmware, UnicornCore(firmware, processor)), reported, "unicorn")
    if qemu.runs(firmware, processor):
        board = qemu.QemuBoard(firmware, artifact / FIRMWARE, processor)
        return Device(firmware, Emulator(firmware, board), reported, "QEMU")
    other = stand_in(target)
    if other is None:
        raise SprueError(f"nothing here runs a firmware for {processor.cpu}", remedy=qemu.INSTALL)
    with tempfile.TemporaryDirectory() as folder:
        copy = read_firmware(rebuilt(artifact, machine(other), Path(folder)))
    emulator = Emulator(copy, UnicornCore(copy, machine(other)))
    return Device(firmware, emulator, reported, f"unicorn's {other.cpu}", "stand-in")


class Device:
    """A firmware on an emulated processor, batch 1; `run` loops over the samples, in the firmware's types.

    `border`: which of them became int8; None if none.
    """

    def __init__(
        self, firmware: Firmware, emulator: Emulator, reported: Reported, by: str,
        execution: Execution = "emulated",
    ) -> None:  # fmt: skip
        """`by`: the emulator's name. A "stand-in" runs the same sources, compiled for another core."""
        self.execution = execution
        self._by = by
        self._firmware = firmware
        self._emulator = emulator
        self._reported = reported
        self.border = reported.border

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        """[samples, ...] in and out. Raises CheckError when the firmware crashes or hangs."""
        checked = {p.name: fitting(p, inputs) for p in self._firmware.inputs}
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

        instructions: of one run on zeros, exact. cycles: estimated of the same run, see cycles.py. A
        stand-in's stack counts as the device's, its instructions do not.
        """
        zeros: Mapping[str, NDArray[np.generic]] = {
            p.name: np.zeros(p.shape, p.dtype) for p in self._firmware.inputs
        }
        stack = self._emulator.stack(zeros)
        notes = {
            "arena": f"{self._firmware.arena} bytes (no plan needs less than {self._reported.bound})",
            "stack": f"{stack} bytes, measured in {self._by}",
            "ram": "static data with the arena, plus the measured stack",
        }
        if self.execution == "stand-in":
            return Profile(self._firmware.flash, self._firmware.ram + stack, notes=notes)
        counted = self._emulator.count(zeros)
        notes["instructions"] = f"of one run on zeros in {self._by}, exact, with skipped conditionals"
        cycles = None
        if counted.estimate is not None:
            cycles = counted.estimate.cycles
            notes |= counted.estimate.notes()
        return Profile(self._firmware.flash, self._firmware.ram + stack, counted.instructions, cycles, notes)

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """Exact instructions of each kernel's call; what `run` itself needs to call them is left out."""
        if self.execution == "stand-in":
            return ()
        counted = self._emulator.count_calls({p.name: fitting(p, sample)[0] for p in self._firmware.inputs})
        if len(counted) != len(self._reported.steps):
            raise SprueError(
                f"the firmware makes {len(counted)} calls, its report names {len(self._reported.steps)}",
                remedy="build it again",
            )
        return tuple(
            Operator(node, op, instructions=count)
            for (node, op), count in zip(self._reported.steps, counted, strict=True)
        )


def fitting(port: Port, inputs: Samples) -> NDArray[np.generic]:
    """The array for an input, [samples, ...]. Raises SprueError if it is missing or of another form."""
    if port.name not in inputs:
        given = ", ".join(sorted(inputs)) or "nothing"
        raise SprueError(f"the input '{port.name}' is missing", remedy=f"given: {given}")
    array = inputs[port.name]
    if array.dtype != port.dtype or array.shape[1:] != port.shape[1:]:
        raise SprueError(
            f"the input '{port.name}' is {array.dtype}{list(array.shape)}, "
            f"the artifact takes {port.dtype}[samples, {', '.join(map(str, port.shape[1:]))}]"
        )
    return array
