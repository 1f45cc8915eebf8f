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
class Core:
    """A processor as zig (`zig`), GCC (`gcc`) and unicorn (`emulator`) name it, and its start-up template."""

    zig: str
    gcc: str
    emulator: str
    boot: str = "boot_arm.c.j2"


@dataclass(frozen=True)
class Feature:
    """An ISA feature of a target file, as zig and GCC are told of it."""

    zig: str
    gcc: tuple[str, ...] = ()
    floats: bool = False


@dataclass(frozen=True)
class Machine:
    """A core with its features: what the compiler, the emulator and CMake need."""

    triple: str
    cpu: str
    gcc: tuple[str, ...]
    emulator: str
    boot: str


CORES: dict[tuple[str, str], Core] = {
    ("armv7em", "cortex-m4"): Core("cortex_m4", "cortex-m4", "UC_CPU_ARM_CORTEX_M4"),
    ("armv7em", "cortex-m7"): Core("cortex_m7", "cortex-m7", "UC_CPU_ARM_CORTEX_M7"),
    ("armv8m", "cortex-m33"): Core("cortex_m33", "cortex-m33", "UC_CPU_ARM_CORTEX_M33"),
}
"""(arch, cpu) of a target file -> core."""

FEATURES = {
    "dsp": Feature("dsp"),
    "fpv4-sp": Feature("vfp4d16sp", ("-mfpu=fpv4-sp-d16",), floats=True),
    "fpv5-sp": Feature("fp_armv8d16sp", ("-mfpu=fpv5-sp-d16",), floats=True),
}
"""Feature of a target file -> flags. Without a floating point unit, floats are computed by zig's library."""


def machine(target: Target) -> Machine:
    """Raises SprueError when there is no row for the target's processor or for one of its features."""
    core = CORES.get((target.arch, target.cpu))
    if core is None:
        raise SprueError(
            f"the C backend knows no processor '{target.cpu}' of architecture '{target.arch}'",
            where=f"target '{target.id}'",
            remedy=did_you_mean(target.cpu, (cpu for _, cpu in CORES)),
        )
    for name in target.features:
        if name not in FEATURES:
            raise SprueError(
                f"the C backend knows no feature '{name}'",
                where=f"target '{target.id}'",
                remedy=did_you_mean(name, FEATURES),
            )
    features = [FEATURES[name] for name in target.features]
    floats = any(f.floats for f in features)
    flags = tuple(flag for f in features for flag in f.gcc)
    return Machine(
        "thumb-freestanding-eabihf" if floats else "thumb-freestanding-eabi",
        "+".join((core.zig, *(f.zig for f in features))),
        (f"-mcpu={core.gcc}", "-mthumb", f"-mfloat-abi={'hard' if floats else 'soft'}", *flags),
        core.emulator,
        core.boot,
    )
