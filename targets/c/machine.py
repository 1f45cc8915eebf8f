"""Processors: what the compiler and the emulator call them, and where their memory lies.

Data only. A board is a target file; a new core is a new row here.
"""

from __future__ import annotations

from dataclasses import dataclass

from sprue.errors import SprueError, did_you_mean
from sprue.target import Target

FLASH_ORIGIN = 0x00000000
RAM_ORIGIN = 0x20000000
"""As on Arm's MPS2 and MPS3 boards, so that QEMU runs the same file."""


@dataclass(frozen=True)
class Machine:
    """One core, as zig (`triple`, `cpu`), GCC (`gcc`) and unicorn (`emulator`) name it.

    `boot`: the start-up template. `emulator` is empty where unicorn has no such core: then the artifact is
    compiled, not executed.
    """

    triple: str
    cpu: str
    gcc: tuple[str, ...]
    emulator: str
    boot: str = "boot_arm.c.j2"
    float_registers: bool = True


CORTEX_M4F = Machine(
    "thumb-freestanding-eabihf", "cortex_m4+vfp4d16sp",
    ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), "UC_CPU_ARM_CORTEX_M4",
)  # fmt: skip
CORTEX_M7F = Machine(
    "thumb-freestanding-eabihf", "cortex_m7+fp_armv8d16sp",
    ("-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"), "UC_CPU_ARM_CORTEX_M7",
)  # fmt: skip
CORTEX_M33F = Machine(
    "thumb-freestanding-eabihf", "cortex_m33+fp_armv8d16sp",
    ("-mcpu=cortex-m33", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"), "UC_CPU_ARM_CORTEX_M33",
)  # fmt: skip

MACHINES: dict[tuple[str, str], Machine] = {
    ("armv7em", "cortex-m4"): CORTEX_M4F,
    ("armv7em", "cortex-m7"): CORTEX_M7F,
    ("armv8m", "cortex-m33"): CORTEX_M33F,
}
"""(arch, cpu) of a target file -> machine."""


def machine(target: Target) -> Machine:
    """Raises SprueError when there is no row for the target's processor."""
    found = MACHINES.get((target.arch, target.cpu))
    if found is None:
        cpus = sorted(cpu for _, cpu in MACHINES)
        raise SprueError(
            f"the C backend knows no processor '{target.cpu}' of architecture '{target.arch}'",
            where=f"target '{target.id}'",
            remedy=did_you_mean(target.cpu, cpus),
        )
    return found
