"""What an artifact will need, before it is built: from the firmware that the build would link, run once; a
host's library is linked, and not run.

Arena and weights are known from the lowered graph; how large the code becomes only its compiler knows, and
how many instructions it takes only a processor. Both answer in less time than any model of them would take to
be trusted: the sources are compiled, linked and run on zeros. No golden vectors, no verification, no timing.
What cannot fit by its arena and weights alone is not compiled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from sprue.backend import Finding, Pass, Prediction, Profile, Variant
from sprue.border import IN_VAIN, REMEDY, Border
from sprue.passes.int8_border import int8_border

from . import limits
from .artifact import write_runnable
from .check import lowered_for
from .devices import host, unicorn_core
from .devices.device import load
from .devices.elf import read_firmware
from .emit import emit
from .firmware import FIRMWARE
from .lower import Program
from .machine import machine

if TYPE_CHECKING:
    from onnx import ModelProto

    from sprue.backend import Samples

MOST_SAMPLES = 256
"""Calibration samples that are looked at: enough to be done in a moment."""


def prepare(
    model: ModelProto, variant: Variant, passes: tuple[Pass, ...], calibration: Samples
) -> Callable[[], Prediction]:
    """Lower the model as `compile` would get it. What is returned does the rest, in any thread.

    Raises SprueError for what the passes or the lowering refuse.
    """
    few = {name: array[:MOST_SAMPLES] for name, array in calibration.items()}
    for change in passes:
        model = change.apply(model, few)
    border = None
    if variant.border == "int8":
        model, border = int8_border(model)
        if not border.int8:
            vain = Finding("precision", "", "", IN_VAIN, REMEDY)
            return lambda: Prediction(Profile(), (vain,))
    program, findings = lowered_for(model, variant.target)
    if program is None:
        return lambda: Prediction(Profile(), tuple(findings))
    known: Program = program
    return lambda: _predict(known, border, variant, _notes(passes, calibration))


def _notes(passes: tuple[Pass, ...], calibration: Samples) -> dict[str, str]:
    count = max((len(a) for a in calibration.values()), default=0)
    if count <= MOST_SAMPLES or not any(p.needs_calibration for p in passes):
        return {}
    return {"calibration": f"with {MOST_SAMPLES} of {count} samples: the code may differ by a few bytes"}


def _predict(
    program: Program, border: Border | None, variant: Variant, notes: Mapping[str, str]
) -> Prediction:
    quantized = variant.precision != "float32"
    least = limits.Need(program.plan.bytes, limits.weight_bytes(program), program.blocks, least=True)
    found = limits.findings(program, least, variant.target, quantized=quantized)
    if found:
        return Prediction(Profile(least.flash, least.ram, notes=notes), tuple(found), least=True)
    # The compiler is a process of its own: while it works, this one imports the emulator.
    Thread(target=unicorn_core.warm_up).start()
    with tempfile.TemporaryDirectory(prefix="sprue-predict-") as folder:
        write_runnable(Path(folder), program, emit(program, border=border), variant, machine(variant.target))
        told = _profile(Path(folder), variant)
        told = told if border is None else border.noted(told)
    assert told.flash is not None
    assert told.ram is not None
    need = limits.Need(told.ram, told.flash, program.blocks)
    found = limits.findings(program, need, variant.target, quantized=quantized)
    return Prediction(replace(told, notes={**told.notes, **notes}), tuple(found))


def _profile(artifact: Path, variant: Variant) -> Profile:
    """As `Device.profile` has it; without unicorn, and of a host's library, what can be read off the file."""
    if machine(variant.target).hosted:
        return host.profile(artifact)
    if unicorn_core.available():
        return load(artifact, variant.target).profile()
    firmware = read_firmware(artifact / FIRMWARE)
    notes = {"ram": "static data with the arena, without the stack, which takes unicorn to measure"}
    return Profile(firmware.flash, firmware.ram, notes=notes)
