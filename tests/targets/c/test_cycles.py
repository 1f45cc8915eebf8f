"""Estimated cycles: each instruction as Arm's manual has it, checked against code that zig assembles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sprue.targets.c import cycles

CASES = {
    "adds r0, r1, r2": (1, "other"),
    "smlad r0, r1, r2, r3": (1, "multiply"),
    "mla r0, r1, r2, r3": (1, "multiply"),
    "smull r0, r1, r2, r3": (1, "multiply"),
    "sdiv r0, r1, r2": (7, "divide"),
    "ssat r0, #8, r1": (1, "other"),
    "ldr r0, [r1]": (2, "load"),
    "ldrsb r0, [r1, #3]": (2, "load"),
    "ldr r0, [r1]; ldr r2, [r3]; ldrh r4, [r5]": (4, "load"),
    "ldr r0, [r1]; ldr r2, [r0]": (4, "load"),
    "ldr r0, [r1], #4; ldr r2, [r1], #4": (4, "load"),
    "ldrd r0, r1, [r2]": (3, "load"),
    "ldm r0!, {r1, r2, r3, r4}": (5, "load"),
    "pop {r4, r5, r6}": (4, "load"),
    "str r0, [r1, #4]": (1, "store"),
    "str r0, [r1, r2]": (2, "store"),
    "strd r0, r1, [r2]": (3, "store"),
    "push {r4, r5, lr}": (4, "store"),
    "stm r0!, {r1, r2}": (3, "store"),
    "bl near": (1, "branch"),
    "vldr s0, [r0]": (2, "float load"),
    "vldr s0, [r0]; vldr s1, [r0, #4]": (3, "float load"),
    "vldmia r0!, {s0, s1, s2}": (4, "float load"),
    "vpush {d8, d9}": (5, "float store"),
    "vstr s0, [r0]": (2, "float store"),
    "vadd.f32 s0, s1, s2": (1, "float"),
    "vmov s0, r0": (2, "float"),
    "vmov.f32 s0, s1": (1, "float"),
    "vmla.f32 s0, s1, s2": (3, "float multiply-accumulate"),
    "vfma.f32 s0, s1, s2": (3, "float multiply-accumulate"),
    "vdiv.f32 s0, s1, s2": (14, "float divide, root"),
    "vsqrt.f32 s0, s1": (14, "float divide, root"),
    "vmrs APSR_nzcv, fpscr": (1, "float"),
}


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of each case, by zig's assembler: each begins where its label says."""
    folder: Path = tmp_path_factory.mktemp("cycles")
    lines = [".syntax unified", ".thumb", ".text", "near:"]
    for case in CASES:
        lines += [".2byte 0xbeef, 0xfeed", *case.split("; ")]
    (folder / "cases.s").write_text("\n".join([*lines, ".2byte 0xbeef, 0xfeed", ""]))
    subprocess.run(
        [
            sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabihf",
            "-mcpu=cortex_m4+vfp4d16sp", "-c", "cases.s",
        ],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    pieces = (folder / "cases.o").read_bytes().split(b"\xef\xbe\xed\xfe")
    return dict(zip(CASES, pieces[1:-1], strict=True))


@pytest.mark.parametrize("case", CASES)
def test_an_instruction_takes_what_the_manual_says(case: str, assembled: dict[str, bytes]) -> None:
    wanted, kind = CASES[case]
    assert cycles.block(assembled[case]) == cycles.Block(wanted, {kind: case.count(";") + 1})


def test_a_taken_branch_refills_the_pipeline_and_one_that_is_not_taken_does_not() -> None:
    trace = cycles.Trace()
    for address in (0x100, 0x104, 0x100, 0x104, 0x108):  # a loop of two blocks, and what follows
        trace(address, 4)
    made = cycles.estimate(trace, lambda _address, _size: b"\x00\xbf\x00\xbf")
    assert made.cycles == 10 + cycles.REFILL * 2, "into the loop, and back once"


def test_a_mix_leaves_out_what_hardly_occurs() -> None:
    assert cycles.Estimate(1, {"load": 600, "other": 395, "divide": 5}).mix() == "load 60%, other 40%"
