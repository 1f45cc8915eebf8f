"""Estimated cycles: each instruction as the manuals have it, checked against code that zig assembles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sprue.targets.c.devices import cycles

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


ON_OTHERS = {
    ("mla r0, r1, r2, r3", "cortex-m3"): 2,
    ("smull r0, r1, r2, r3", "cortex-m3"): 4,
    ("ldr r0, [r1]; ldr r2, [r3]; ldrh r4, [r5]", "cortex-m3"): 4,
    ("ldr r0, [r1]; ldr r2, [r3]; ldrh r4, [r5]", "cortex-m0plus"): 6,
    ("adds r0, r1, r2", "cortex-m0plus"): 1,
    ("str r0, [r1, #4]", "cortex-m0plus"): 2,
    ("str r0, [r1, r2]", "cortex-m0plus"): 2,
    ("bl near", "cortex-m0plus"): 2,  # and one for the taken branch
    ("pop {r4, r5, r6}", "cortex-m0plus"): 4,
    ("pop {r4, pc}", "cortex-m0plus"): 4,  # and one for the taken branch
    ("pop {r4, pc}", "cortex-m4"): 3,
    ("ldr r0, [r1]; str r2, [r3, #20]", "cortex-m3"): 3,
    ("ldr r0, [r1]; str r1, [r3, r2]", "cortex-m3"): 3,
    ("ldr r0, [r1]; str r1, [r0, r2]", "cortex-m3"): 4,
    ("ldr r0, [r1, r2]; str r0, [r3, r2]", "cortex-m4"): 3,
    ("adds r0, r1, r2; ldr r3, [r0]", "cortex-m0plus"): 3,
    ("adds r0, r1, r2; ldr r3, [r0]", "cortex-m3"): 4,
    ("adds r0, r1, r2; str r0, [r3]", "cortex-m4"): 2,
    ("adds r0, r1, r2; ldm r0!, {r1, r2}", "cortex-m4"): 5,
    ("adds r0, r1, r2; vldr s0, [r0]", "cortex-m4"): 4,
    ("tbb [r0, r1]", "cortex-m4"): 3,  # and P for the taken branch
    ("vldr d0, [r0]", "cortex-m4"): 3,
    ("vstr d0, [r0]", "cortex-m4"): 3,
}
RISCV = {
    "add a0, a1, a2; addi a0, a0, 1; sub a3, a0, a1": (3, {"other": 3}),
    "lw a0, 0(a1); addi a2, a2, 1; add a3, a0, a2": (3, {"load": 1, "other": 2}),
    "lw a0, 0(a1); add a3, a0, a2": (3, {"load": 1, "other": 1}),
    "lb a0, 0(a1); add a3, a0, a2": (4, {"load": 1, "other": 1}),
    "lw s2, 8(sp); add s3, s2, s2": (3, {"load": 1, "other": 1}),
    "mul a0, a1, a2; add a3, a0, a2": (6, {"multiply": 1, "other": 1}),
    "mul a0, a1, a2; add a3, a1, a2": (2, {"multiply": 1, "other": 1}),
    "mul a0, a1, a2; mul a3, a1, a2": (6, {"multiply": 2}),
    "mul a0, a1, a2; li a0, 1": (6, {"multiply": 1, "other": 1}),
    "divu a0, a1, a2; mulhsu a3, a1, a2": (18, {"divide": 1, "multiply": 1}),
    "sw a0, 0(a1); sw a0, 4(sp); add a0, a0, a1": (3, {"store": 2, "other": 1}),
    "lw a0, 0(a1); sw a0, 0(a2)": (3, {"load": 1, "store": 1}),
    "csrr a0, mstatus; add a1, a0, a0": (4, {"other": 2}),
    "lw a0, 0(a1); bne a0, a2, near": (3, {"load": 1, "branch": 1}),
    "mul zero, a1, a2; add a0, zero, a1": (2, {"multiply": 1, "other": 1}),
}
THUMB = dict.fromkeys([*CASES, *(case for case, _ in ON_OTHERS)])


def timings(cpu: str) -> cycles.Timings:
    found = cycles.documented(cpu)
    assert found is not None
    return found


def assemble(folder: Path, cases: list[str], head: list[str], *flags: str) -> dict[str, bytes]:
    """The bytes of each case, by zig's assembler: between marks of four bytes."""
    lines = [*head, ".text", "near:"]
    for case in cases:
        lines += [".2byte 0xbeef, 0xfeed", *case.split("; ")]
    (folder / "cases.s").write_text("\n".join([*lines, ".2byte 0xbeef, 0xfeed", ""]))
    zig = [sys.executable, "-m", "ziglang", "cc", *flags, "-c", "cases.s"]
    subprocess.run(zig, cwd=folder, check=True, capture_output=True)
    pieces = (folder / "cases.o").read_bytes().split(b"\xef\xbe\xed\xfe")
    return dict(zip(cases, pieces[1:-1], strict=True))


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    cpu = ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4+vfp4d16sp")
    return assemble(tmp_path_factory.mktemp("cycles"), list(THUMB), [".syntax unified", ".thumb"], *cpu)


@pytest.mark.parametrize("case", CASES)
def test_an_instruction_takes_what_the_manual_says(case: str, assembled: dict[str, bytes]) -> None:
    wanted, kind = CASES[case]
    assert timings("cortex-m4").block(assembled[case]) == cycles.Block(wanted, {kind: case.count(";") + 1})


@pytest.mark.parametrize(("case", "cpu"), ON_OTHERS)
def test_other_cores_have_manuals_of_their_own(case: str, cpu: str, assembled: dict[str, bytes]) -> None:
    assert timings(cpu).block(assembled[case]).cycles == ON_OTHERS[case, cpu]


def test_an_e31_waits_for_results_and_for_its_one_multiplier(tmp_path: Path) -> None:
    cpu = ("-target", "riscv32-freestanding-none", "-mcpu=sifive_e31")
    made = assemble(tmp_path, list(RISCV), [".option norelax"], *cpu)
    assert {case: timings("sifive-e31").block(code) for case, code in made.items()} == {
        case: cycles.Block(wanted, classes) for case, (wanted, classes) in RISCV.items()
    }


@pytest.mark.parametrize(("cpu", "lost"), [("cortex-m0plus", 2), ("cortex-m4", 4), ("sifive-e31", 3)])
def test_branches_cost_what_their_core_loses_by_them(cpu: str, lost: int) -> None:
    trace = cycles.Trace()
    for address in (0x100, 0x104, 0x100, 0x104, 0x108):  # a loop of two blocks, and what follows
        trace(address, 4)
    nothing = b"\x01\x00\x01\x00" if cpu == "sifive-e31" else b"\x00\xbf\x00\xbf"
    made = cycles.estimate(trace, lambda _address, _size: nothing, timings(cpu))
    assert made.cycles == 10 + lost, "taken: into the loop, and back once; turned: out of the loop"


@pytest.mark.parametrize("cpu", ["cortex-m7", "cortex-m33", "cortex-m55", "rv32imac"])
def test_what_no_manual_says_is_not_estimated(cpu: str) -> None:
    assert cycles.documented(cpu) is None


def test_a_mix_leaves_out_what_hardly_occurs() -> None:
    mixed = cycles.Estimate(1, {"load": 600, "other": 395, "divide": 5}, "a manual")
    assert mixed.mix() == "load 60%, other 40%"
    assert "a manual" in mixed.notes()["cycles"]
