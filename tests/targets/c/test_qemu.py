"""A second compiler and a second emulator: GCC and QEMU give, bit for bit, what zig and unicorn give.

The artifact's own sources are built by arm-none-eabi-gcc with the flags of its CMakeLists.txt, with a main()
that prints the outputs by semihosting, and run on QEMU's model of Arm's MPS2 board.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from sprue.targets.c import BACKEND
from sprue.targets.c.literals import c_array
from sprue.targets.c.machine import machine

from sprue.backend import Variant
from sprue.target import Precision, load_target

GCC, QEMU = "arm-none-eabi-gcc", "qemu-system-arm"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which(GCC) is None or shutil.which(QEMU) is None,
        reason="needs Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm",
    ),
]
pytest.importorskip("ziglang", reason="needs the extra embedded")
pytest.importorskip("unicorn", reason="needs the extra embedded")

M4 = load_target("cortex-m4")
RUNS = 4

MAIN = """
#include "model.h"

static const {type} samples[{runs}][{count}] = {{
{texts}
}};

static void call(int32_t operation, const void *argument)
{{
    register int32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}}

int main(void)
{{
    static const char digits[] = "0123456789abcdef";
    for (int32_t run = 0; run < {runs}; ++run) {{
        for (int32_t i = 0; i < {count}; ++i) {{
            model_input_{input}()[i] = samples[run][i];
        }}
        model_run();
        const uint8_t *bytes = (const uint8_t *)model_output_logits();
        for (int32_t i = 0; i < {bytes}; ++i) {{
            const char text[3] = {{digits[bytes[i] >> 4], digits[bytes[i] & 15], 0}};
            call(0x04, text); /* SYS_WRITE0 */
        }}
        call(0x04, "\\n");
    }}
    call(0x18, (const void *)0x20026); /* SYS_EXIT: the application ended */
    return 0;
}}
"""


@pytest.mark.parametrize("precision", ["float32", "int8-static"])
@pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])
def test_gcc_and_qemu_give_bit_for_bit_what_zig_and_unicorn_give(
    network: str, precision: Precision, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    case: tuple[ModelProto, dict[str, NDArray[Any]]] = request.getfixturevalue(network)
    model, samples = case
    variant = Variant(M4, "c", precision)
    for change in BACKEND.passes(variant):
        model = change.apply(model, samples)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    BACKEND.compile(model, variant, samples, artifact)
    few = {name: np.ascontiguousarray(array[:RUNS]) for name, array in samples.items()}
    emulated = BACKEND.load(artifact, variant).run(few)["logits"]
    ((name, array),) = few.items()
    printed = _run(_built(artifact, name, array, emulated[0].nbytes), tmp_path)
    rows = [np.frombuffer(bytes.fromhex(line), emulated.dtype) for line in printed.splitlines()]
    np.testing.assert_array_equal(np.stack(rows).view(np.uint8), emulated.reshape(RUNS, -1).view(np.uint8))


def _built(artifact: Path, name: str, array: NDArray[Any], size: int) -> Path:
    header = (artifact / "src" / "model.h").read_text()
    accessor = re.search(rf"(\w+) \*model_input_{name}\(void\)", header)
    assert accessor is not None
    texts = ",\n".join(f"{{\n{c_array(row)}\n}}" for row in array)
    main = artifact / "src" / "main_qemu.c"
    main.write_text(
        MAIN.format(
            type=accessor[1], runs=len(array), count=array[0].size, texts=texts, input=name, bytes=size
        )
    )
    listed = (artifact / "CMakeLists.txt").read_text()
    flags = [
        "-std=c99",
        "-O2",
        "-fno-strict-aliasing",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-ffreestanding",
    ]
    assert all(flag in listed for flag in flags[1:])
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
    sources = ["src/model.c", "src/main_qemu.c", "firmware/boot.c"]
    command = [GCC, *machine(M4).gcc, *flags, "-nostartfiles", "-nostdlib", "-T", "firmware/link.ld"]
    subprocess.run(
        [GCC, *machine(M4).gcc, *flags, *warnings, "-c", "src/model.c", "-o", "m.o"], cwd=artifact, check=True
    )
    subprocess.run([*command, "-o", "qemu.elf", *sources, "-lgcc"], cwd=artifact, check=True)
    return artifact / "qemu.elf"


def _run(elf: Path, folder: Path) -> str:
    command = [QEMU, "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(elf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout or done.stderr
