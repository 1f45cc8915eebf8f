"""What does a network need on a Cortex-M4 by us, and by emx-onnx-cgen?

Three networks with seeded weights, in float32 and in int8 (the same QDQ graph for both). The C of both is
compiled by the same arm-none-eabi-gcc -O2, linked with the same start-up, and run by unicorn: RAM is static
data (for ours: the arena) plus the stack that a run touches; instructions are exact. Outputs are held against
onnxruntime; what gives another answer is shown as wrong, and has no ratio. onnx2c comes as C++ source only:
for it and for our prototype stand figures that were measured elsewhere, with networks of like shapes.

    python benchmarks/embedded.py [--only cnn ds-cnn lstm]      needs gcc-arm-none-eabi and its newlib
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # run as a script: the other modules are found from the checkout's root

from sprue.targets.c import BACKEND, emulator, unicorn_core  # noqa: E402
from sprue.targets.c.artifact import write_runnable  # noqa: E402
from sprue.targets.c.check import lowered  # noqa: E402
from sprue.targets.c.devices.elf import read_firmware  # noqa: E402
from sprue.targets.c.emit import emit  # noqa: E402
from sprue.targets.c.machine import machine  # noqa: E402

from benchmarks.embedded_models import MODELS  # noqa: E402
from benchmarks.peers import CACHE, installed  # noqa: E402
from sprue.backend import Variant  # noqa: E402
from sprue.machine import fingerprint  # noqa: E402
from sprue.target import Precision, load_target  # noqa: E402

Array = NDArray[Any]
EMX = "emx-onnx-cgen==1.4.0"  # its package installs a module called `shared`
GCC = "arm-none-eabi-gcc"
FLAGS = ("-std=c11", "-O2", "-ffreestanding", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno")
ROOM = 4 * 2**20
"""Bytes of RAM, more than any board has: what does not fit one is to be measured, not to crash."""
M4 = replace(load_target("cortex-m4"), limit_ram=ROOM)
PRECISIONS: tuple[Precision, ...] = ("float32", "int8-static")
TOLERANCE = {"float32": 1e-4, "int8-static": 0.05}
"""Of the largest output. In int8 onnxruntime itself rounds float sums, and a step is up to a hundredth."""
ELSEWHERE = {
    ("cnn", "float32"): {"onnx2c": (50.5, 5.9), "prototype": (38.0, 2.2)},
    ("cnn", "int8-static"): {"onnx2c": (108.5, 6.6), "prototype": (9.8, 2.4)},
    ("ds-cnn", "float32"): {"onnx2c": (64.3, 27.5), "prototype": (35.2, 20.3)},
    ("ds-cnn", "int8-static"): {"onnx2c": (210.0, 30.6), "prototype": (9.5, 21.2)},
    ("lstm", "float32"): {"emx-onnx-cgen": (2.7, 0.53)},
}
"""KB of RAM and millions of instructions, as measured when the aims were set, with weights of their own."""


@dataclass(frozen=True)
class Cost:
    """Bytes, and instructions of one run. `error`: the largest, as a part of the largest output."""

    ram: int
    flash: int
    instructions: int
    error: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MODELS, default=[*MODELS])
    arguments = parser.parse_args()
    if shutil.which(GCC) is None:
        parser.error(f"needs {GCC}: apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi")
    emulator.STACK = unicorn_core.STACK = ROOM // 2  # emx-onnx-cgen keeps every tensor on the stack
    compiler = subprocess.run([GCC, "--version"], capture_output=True, text=True, check=True).stdout
    print(f"{fingerprint()}\n  {compiler.splitlines()[0]}, {' '.join(FLAGS)}; Cortex-M4F in unicorn; {EMX}")
    command = installed(CACHE / "emx", [EMX]).with_name("emx-onnx-cgen")
    for name in arguments.only:
        for precision in PRECISIONS:
            compare(name, precision, command)


def compare(name: str, precision: Precision, emx: Path) -> None:
    model, samples = MODELS[name]()
    for change in BACKEND.passes(Variant(M4, "c", precision)):
        model = change.apply(model, {"x": samples})
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        write_ours(model, precision, ours)
        costs = {"sprue": measured(ours, model, samples, libraries=("-lgcc",))}
        try:
            write_theirs(model, emx, ours, theirs)
            costs["emx-onnx-cgen"] = measured(theirs, model, samples, libraries=("-lm", "-lc", "-lgcc"))
        except subprocess.CalledProcessError as error:
            print(f"  emx-onnx-cgen fails: {str(error.stderr)[-200:]}")
    show(name, precision, costs)


def show(name: str, precision: Precision, costs: Mapping[str, Cost]) -> None:
    print(f"\n  {name}, {precision}")
    ours = costs["sprue"]
    for who, cost in costs.items():
        right = cost.error <= TOLERANCE[precision]
        ratio = times(ours, cost.ram, cost.instructions) if right else "WRONG"
        flash = f"{cost.flash / 1000:7.1f} KB flash"
        print(row(who, cost.ram, flash, cost.instructions), f" {ratio}  (error {cost.error:.0e})")
    for who, (kilobytes, millions) in ELSEWHERE.get((name, precision), {}).items():
        ram, instructions = kilobytes * 1000, millions * 1e6
        print(row(f"{who}, quoted", ram, " " * 16, instructions), f" {times(ours, ram, instructions)}")


def row(who: str, ram: float, flash: str, instructions: float) -> str:
    return f"    {who:21} {ram / 1000:6.1f} KB RAM {flash} {instructions / 1e6:7.3f} M instructions"


def times(ours: Cost, ram: float, instructions: float) -> str:
    return f"x {ram / ours.ram:5.2f} RAM, x {instructions / ours.instructions:5.2f} instructions"


def write_ours(model: ModelProto, precision: Precision, out: Path) -> None:
    """Sources, start-up and linker script of our firmware."""
    program, findings = lowered(model)
    if program is None:
        sys.exit(f"sprue refuses: {findings}")
    out.mkdir()
    write_runnable(out, program, emit(program), Variant(M4, "c", precision), machine(M4))


def write_theirs(model: ModelProto, emx: Path, ours: Path, out: Path) -> None:
    """Our firmware's folder with their C in place of ours, called as ours is: header and start-up stay."""
    shutil.copytree(ours, out)
    onnx.save(model, out / "model.onnx")
    command = [str(emx), "compile", "--large-temp-threshold", "0", "--large-weight-threshold", "0"]
    command += ["--model-name", "theirs", "model.onnx", "src/model.c"]
    subprocess.run(command, cwd=out, check=True, capture_output=True, text=True, timeout=300)
    header = (out / "src" / "model.h").read_text()
    declared = re.findall(r"^(?:const )?\w+ \*(model_(input|output)_\w+)\(void\);", header, re.M)
    firmware = read_firmware(ours / "firmware.elf")
    sizes = [int(np.prod(p.shape)) for p in (*firmware.inputs, *firmware.outputs)]
    lines = ['#include "model.h"']
    for (accessor, kind), size in zip(declared, sizes, strict=True):
        lines += [f"static float {kind}[{size}];"]
        lines += [f"{'const ' if kind == 'output' else ''}float *{accessor}(void) {{ return {kind}; }}"]
    lines += ["void model_run(void) { theirs((void *)input, (void *)output); }"]
    text = (out / "src" / "model.c").read_text()
    (out / "src" / "model.c").write_text(text + "\n" + "\n".join(lines) + "\n")


def measured(folder: Path, model: ModelProto, samples: Array, libraries: tuple[str, ...]) -> Cost:
    """Compiled by GCC, and run: the first samples for the answers, zeros for instructions and stack."""
    processor = machine(M4)
    command = [GCC, *processor.gcc, *FLAGS, "-w", "-nostartfiles", "-Wl,--gc-sections", "-ffunction-sections"]
    command += ["-fdata-sections", "-Isrc", "-T", "firmware/link.ld", "-o", "gcc.elf"]
    command += ["src/model.c", "firmware/main.c", "firmware/boot.c", *libraries]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    firmware = read_firmware(folder / "gcc.elf")
    device = emulator.Emulator(firmware, unicorn_core.UnicornCore(firmware, processor))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    error = 0.0
    for sample in samples[:4, None]:
        wanted = session.run(None, {"x": sample})[0]
        got = device.run({"x": sample})["y"]
        error = max(error, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
    zeros = {"x": np.zeros_like(samples[:1])}
    stack = device.stack(zeros)
    return Cost(firmware.ram + stack, firmware.flash, device.count(zeros).instructions, error)


if __name__ == "__main__":
    main()
