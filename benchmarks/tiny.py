"""The MLPerf Tiny models on a Cortex-M4: flash, RAM and time in C, beside TFLite Micro's arena.

int8 is MLCommons' own file, read as QDQ with its very scales, int8 at the border; float32 is the float file.
Ours is compiled by zig and executed by unicorn: flash is the whole image, RAM the arena and the measured
stack, instructions those of one run. Cycles, and milliseconds at 120 MHz, are an estimate made of these
(docs/embedded.md), of the same sources by arm-none-eabi-gcc -O2, too, if that is here; what others publish
they measured on boards of that clock. TFLite Micro runs here as its
Python package does, on this machine: its arena holds 64-bit pointers, which a Cortex-M4's would not. Its
flash is the .tflite file and, beside it, interpreter and kernels, which are not counted here.

    python benchmarks/tiny.py            needs the extras `embedded` and `mobile`; for the peer: tflite-micro

Aims: less RAM than TFLite Micro's arena alone; at most 5 % more flash than the .tflite file alone; int8
by estimate, and by either compiler, faster than what CMSIS-NN and Plumerai take.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnx import ModelProto

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the models are found from the root
    sys.path[0] = str(ROOT)

from sprue.targets.c.devices.elf import read_firmware  # noqa: E402
from sprue.targets.c.devices.emulator import Emulator  # noqa: E402
from sprue.targets.c.devices.unicorn_core import UnicornCore  # noqa: E402
from sprue.targets.c.machine import Machine, machine  # noqa: E402

from models.mlperf_tiny.import_tflite import ORIGINALS, Original  # noqa: E402
from models.mlperf_tiny.rebuild import rebuild  # noqa: E402
from sprue.backend import Profile, Variant, find  # noqa: E402
from sprue.target import load_target  # noqa: E402

HYBRID = "kws_ref_model_float32"
"""Holds int8 weights beside float activations, which TFLite Micro refuses. Ours has floats in flash."""
DATA = Path(os.environ.get("SPRUE_DATA", str(ROOT.parent / "shared" / "data"))) / "mlperf-tiny"
PUBLISHED = {
    "kws": (144.0, 99.8, 47.8, 43.2),
    "vww": (339.0, 301.0, 98.8, 88.9),
    "resnet": (389.0, 390.0, 168.0, 165.0),
    "ad01": (11.7, 8.6, 4.05, 5.26),
}
"""MLPerf Tiny, milliseconds on a Cortex-M4 at 120 MHz: microTVM alone, with CMSIS-NN, Plumerai,
X-CUBE-AI."""
FLAGS = ("-std=c99", "-O2", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno", "-ffreestanding")
PEER = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(sys.argv[1], arena_size=1 << 24)
port = interpreter.get_input_details(0)
interpreter.set_input(np.zeros(port["shape"], port["dtype"]), 0)
interpreter.invoke()
interpreter.print_allocations()
"""


def ours(model: ModelProto, original: Original, board: str = "cortex-m4") -> Profile:
    """Of the firmware for a board without limits."""
    return measured(model, original, board, gcc=False)[0]


def measured(model: ModelProto, original: Original, board: str, *, gcc: bool) -> tuple[Profile, int | None]:
    """Of zig's firmware; and the cycles of GCC's, if asked for, None where it is not installed."""
    target = dataclasses.replace(load_target(board), limit_ram=None, limit_flash=None)
    backend, variant = find("c"), Variant(target, "c", "float32")
    samples = {"x": original.samples(4).astype(_dtype(model))}
    for change in backend.passes(variant):
        model = change.apply(model, samples)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backend.compile(model, variant, samples, folder)
        cycles = by_gcc(folder, machine(target)) if gcc else None
        return backend.load(folder, variant).profile(), cycles


def by_gcc(artifact: Path, processor: Machine) -> int | None:
    """Compiled as the artifact's CMakeLists.txt says, and run once on zeros."""
    if shutil.which(processor.isa.gcc) is None:
        return None
    command = [processor.isa.gcc, *processor.gcc, *FLAGS, "-Isrc", "-nostdlib", "-T", "firmware/link.ld"]
    command += ["-o", "gcc.elf", "src/model.c", "firmware/main.c", "firmware/boot.c", "-lgcc"]
    subprocess.run(command, cwd=artifact, check=True)
    firmware = read_firmware(artifact / "gcc.elf")
    zeros = {port.name: np.zeros(port.shape, port.dtype) for port in firmware.inputs}
    estimate = Emulator(firmware, UnicornCore(firmware, processor)).count(zeros).estimate
    return None if estimate is None else estimate.cycles


def _dtype(model: ModelProto) -> type[np.generic]:
    return np.int8 if model.graph.input[0].type.tensor_type.elem_type == 3 else np.float32


def arena(path: Path) -> int | None:
    """Bytes that TFLite Micro allocates; None where it is not installed."""
    if importlib.util.find_spec("tflite_micro") is None:
        return None
    done = subprocess.run([sys.executable, "-c", PEER, str(path)], capture_output=True, text=True, check=True)
    found = re.search(r"Arena allocation total (\d+) bytes", done.stdout + done.stderr)
    assert found is not None, done.stderr
    return int(found.group(1))


def main() -> int:
    heading = f"{'':16}{'flash':>10}{'.tflite':>10}{'RAM':>10}{'TFLM arena':>12}{'stack':>8}"
    heading += f"{'instructions':>14}{'cycles (est.)':>15}{'ms':>7}{'by GCC':>8}"
    print(f"{heading}   microTVM, CMSIS-NN, Plumerai, X-CUBE-AI")
    kept = True
    clock = load_target("cortex-m4")
    for name, original in ORIGINALS.items():
        for kind, file in (("int8", original.int8_file), ("float32", original.float_file)):
            path = DATA / f"{file}.tflite"
            profile, cycles = measured(rebuild(path.read_bytes()), original, "cortex-m4", gcc=True)
            theirs = arena(path) if file != HYBRID else None
            stack = profile.notes["stack"].split()[0]
            row = f"{profile.flash:10,}{path.stat().st_size:10,}{profile.ram:10,}"
            row += f"{theirs:12,}" if theirs is not None else f"{'-':>12}"
            time = clock.seconds(profile.cycles)
            assert time is not None, "needs capstone"
            row += f"{stack:>8}{profile.instructions:14,}{profile.cycles:15,}{1000 * time:7.1f}"
            other = clock.seconds(cycles)
            row += f"{'-':>8}" if other is None else f"{1000 * other:8.1f}"
            peers = PUBLISHED[name] if kind == "int8" else ()
            print(f"{name:8}{kind:8}{row}   {', '.join(map(str, peers))}", flush=True)
            kept &= not peers or 1000 * max(time, other or 0) < min(peers[1:3])
            assert profile.flash is not None
            assert profile.ram is not None
            kept &= file == HYBRID or profile.flash <= 1.05 * path.stat().st_size
            kept &= theirs is None or profile.ram <= theirs
    print(f"aims {'reached' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
