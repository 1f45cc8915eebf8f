"""The generated C is free of warnings under gcc, clang and zig, for this machine and for microcontrollers.

One model for each kernel form. For a Cortex-M4 at -O0, too: plain C then stands in for instructions.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from onnx import ModelProto

from .host import WARNINGS
from .models import source
from .test_integer_kernels import CASES as INTEGER
from .test_kernels import CASES as FLOAT

pytestmark = pytest.mark.slow

ZIG = (sys.executable, "-m", "ziglang", "cc")
COMPILERS = {
    "gcc": ("gcc",),
    "clang": ("clang",),
    "zig": ZIG,
    "gcc for a Cortex-M4": ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "gcc for a Cortex-M4, few registers": (
        "arm-none-eabi-gcc",
        "-mcpu=cortex-m4",
        "-mfloat-abi=hard",
        "-mfpu=fpv4-sp-d16",
        "-fno-omit-frame-pointer",
        "-fPIC",
        "-DSPRUE_PLAIN_C",
    ),
    "zig for a Cortex-M4": (*ZIG, "-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4+dsp+vfp4d16sp"),
    "gcc for a Cortex-M55": ("arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mfloat-abi=hard"),
    "zig for a Cortex-M55": (
        *ZIG,
        "-target",
        "thumb-freestanding-eabihf",
        "-mcpu=cortex_m55+dsp+fp_armv8d16sp+mve_fp",
    ),
    "zig for a Cortex-M0+": (*ZIG, "-target", "thumb-freestanding-eabi", "-mcpu=cortex_m0plus"),
    "zig for RISC-V": (*ZIG, "-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c"),
    "zig for RISC-V with vectors": (
        *ZIG,
        "-target",
        "riscv32-freestanding-none",
        "-mcpu=generic_rv32+m+c+zve32x+zvl128b",
    ),
    "gcc for RISC-V": ("riscv64-unknown-elf-gcc", "-march=rv32imac", "-misa-spec=2.2", "-mabi=ilp32"),
}
FAMILIES = ("", "vectors", "registers", "scalable")
"""What `lowered` may be told of a processor that has kernels of its own."""


def flags(family: str) -> dict[str, bool]:
    return {family: True, "fixed_point": family == "scalable"} if family else {}


@cache
def one_of_each_form(family: str) -> tuple[ModelProto, ...]:
    """The first model of the kernels' tests for each kernel template that is a `family`'s own."""
    from sprue.targets.c.check import lowered

    found: dict[str, ModelProto] = {}
    for model in (*(case[0] for case in INTEGER.values()), *(case[0] for case in FLOAT.values())):
        program, findings = lowered(model, **flags(family))
        assert program is not None, findings
        for call in program.calls:
            found.setdefault(call.call.template, model)
    found = {template: model for template, model in found.items() if family in template}
    assert len(found) > (2 if family else 15)
    return tuple({id(m): m for m in found.values()}.values())


@pytest.mark.parametrize(
    ("name", "level"),
    [(n, "-O2") for n in COMPILERS] + [(n, "-O0") for n in COMPILERS if n.endswith("M4")],
)
def test_no_compiler_warns(name: str, level: str, tmp_path: Path) -> None:
    command = COMPILERS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    if command[:3] == ZIG[:3]:
        pytest.importorskip("ziglang", reason="needs the extra embedded")
    files = []
    forms = [(model, family) for family in FAMILIES for model in one_of_each_form(family)]
    for index, (model, family) in enumerate(forms):
        for file, text in source(model, f"m{index}", **flags(family)).files.items():
            (tmp_path / file).write_text(text)
        files.append(f"m{index}.c")
    options = [*WARNINGS, level, "-ffreestanding", "-fno-strict-aliasing", "-ffp-contract=off"]
    done = subprocess.run(
        [*command, *options, "-c", *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[:4000]
