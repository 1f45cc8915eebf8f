"""Processors: what compilers and emulators call them, and where their memory lies.

Data only. A board is a target file; a new core is a new row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sprue.errors import SprueError, did_you_mean
from sprue.target import Target


@dataclass(frozen=True)
class Register:
    """Its name in unicorn, and its number in GDB's protocol."""

    unicorn: str
    gdb: int


@dataclass(frozen=True)
class Isa:
    """What all cores of an architecture share.

    `elf`: e_machine in an ELF header. `mark`: added to the address of a function (1: Thumb code). `result`,
    `stack`, `link`, `counter`: the registers of a function's result, the stack, the return address and the
    next instruction. `boot`: the start-up's template; "" where an operating system starts programs, and the
    artifact is a shared library. `gcc`: what Debian calls the compiler.
    """

    name: str
    elf: int
    mark: int
    result: Register
    stack: Register
    link: Register
    counter: Register
    boot: str
    gcc: str
    flash_origin: int
    ram_origin: int


ARM = Isa(
    "arm", 40, 1, Register("R0", 0), Register("SP", 13), Register("LR", 14), Register("PC", 15),
    "boot_arm.c.j2", "arm-none-eabi-gcc", 0x00000000, 0x20000000,
)  # fmt: skip
"""Memory as on Arm's MPS2 and MPS3 boards, so that QEMU runs the same file."""

RISCV = Isa(
    "riscv", 243, 0, Register("A0", 10), Register("SP", 2), Register("RA", 1), Register("PC", 32),
    "boot_riscv.c.j2", "riscv64-unknown-elf-gcc", 0x80000000, 0x84000000,
)  # fmt: skip
"""Memory as on QEMU's `virt`, which starts at the lower of the two."""

X86_64 = Isa(
    "x86_64", 62, 0, Register("RAX", 0), Register("RSP", 7), Register("RIP", 16), Register("RIP", 16),
    "", "x86_64-linux-gnu-gcc", 0, 0,
)  # fmt: skip
"""Runs natively or not at all: unicorn knows no AVX."""

ARM64 = Isa(
    "arm64", 183, 0, Register("X0", 0), Register("SP", 31), Register("LR", 30), Register("PC", 32),
    "", "aarch64-linux-gnu-gcc", 0, 0,
)  # fmt: skip


@dataclass(frozen=True)
class Board:
    """QEMU's model of a board: the program, its options, and how many bytes there are of flash and of RAM."""

    program: str
    options: tuple[str, ...]
    flash: int
    ram: int


@dataclass(frozen=True)
class Core:
    """A processor as zig, GCC (`gcc`: its options), unicorn and QEMU name it.

    `lacking`: what GCC's `-mcpu` needs for a feature that the target does not list. `abi`: of zig and GCC,
    where it does not follow from the features. `floats`: a floating point unit that is no separate feature.
    `like`: the core that stands in for one that unicorn does not know. `lanes`: see Machine.
    """

    isa: Isa
    zig: str
    gcc: tuple[str, ...]
    unicorn: str | None
    qemu: Board | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)
    abi: tuple[str, ...] = ()
    floats: bool = False
    like: tuple[str, str] | None = None
    lanes: int = 1


@dataclass(frozen=True)
class Feature:
    """An ISA feature of a target file, as zig and GCC are told of it. `unicorn`: whether that knows it.

    `lanes`: see Machine. `brings`: features that every processor with it has, and that the code uses, too.
    `march`: what GCC's first option ends in for it. `qemu`: what QEMU's `-cpu` ends in.
    """

    zig: str
    gcc: tuple[str, ...] = ()
    floats: bool = False
    unicorn: bool = True
    lanes: int = 1
    brings: tuple[str, ...] = ()
    march: str = ""
    qemu: str = ""


@dataclass(frozen=True)
class Machine:
    """A core with its features: what compilers, emulators and CMake need.

    `floats`: whether it computes floats itself. `vectors`: whether it multiplies sixteen bytes at once.
    `registers`: whether it has many registers, and no instruction for pairs of products. `scalable`: whether
    it has vectors of any length, and computes results in fixed point.
    `lanes`: float32 numbers in a vector register; 1: kernels are written for scalar registers. `needs`: the
    features of the target, and what they bring. `unicorn`: its model of the core, None where that is not
    known or lacks a feature: then only QEMU, or a machine of the kind, runs it.
    """

    cpu: str
    isa: Isa
    triple: str
    zig: tuple[str, ...]
    gcc: tuple[str, ...]
    floats: bool
    vectors: bool
    registers: bool
    scalable: bool
    lanes: int
    needs: tuple[str, ...]
    unicorn: str | None
    qemu: Board | None

    @property
    def hosted(self) -> bool:
        """Whether an operating system loads the artifact."""
        return not self.isa.boot


def _mps(machine: str, *, size: int = 4 * 2**20) -> Board:
    return Board("qemu-system-arm", ("-M", machine), size, size)


def _virt(*without: str) -> Board:
    cpu = ",".join(("rv32", *(f"{extension}=false" for extension in without)))
    return Board("qemu-system-riscv32", ("-M", "virt", "-bios", "none", "-cpu", cpu), 64 * 2**20, 64 * 2**20)


CORES: dict[tuple[str, str], Core] = {
    ("armv6m", "cortex-m0plus"): Core(ARM, "cortex_m0plus", ("-mcpu=cortex-m0plus",), "CORTEX_M0"),
    ("armv7m", "cortex-m3"): Core(
        ARM, "cortex_m3", ("-mcpu=cortex-m3",), "CORTEX_M3", _mps("mps2-an385")
    ),
    ("armv7em", "cortex-m4"): Core(
        ARM, "cortex_m4", ("-mcpu=cortex-m4",), "CORTEX_M4", _mps("mps2-an386")
    ),
    ("armv7em", "cortex-m7"): Core(
        ARM, "cortex_m7", ("-mcpu=cortex-m7",), "CORTEX_M7", _mps("mps2-an500")
    ),
    ("armv8m", "cortex-m33"): Core(
        ARM, "cortex_m33", ("-mcpu=cortex-m33",), "CORTEX_M33", lacking={"dsp": "+nodsp"}
    ),
    ("armv81m", "cortex-m55"): Core(
        ARM, "cortex_m55", ("-mcpu=cortex-m55",), None, _mps("mps3-an547", size=512 * 1024),
        lacking={"mve": "+nomve"}, like=("armv8m", "cortex-m33"),
    ),
    ("riscv32", "rv32imac"): Core(
        RISCV, "generic_rv32+m+a+c", ("-march=rv32imac", "-misa-spec=2.2"), "SIFIVE_E31", _virt("f", "d"),
        abi=("-mabi=ilp32",),
    ),
    ("riscv32", "sifive-e31"): Core(
        RISCV, "sifive_e31", ("-march=rv32imac", "-misa-spec=2.2"), "SIFIVE_E31", _virt("f", "d"),
        abi=("-mabi=ilp32",),
    ),
    ("riscv32", "rv32imafc"): Core(
        RISCV, "generic_rv32+m+a+f+c", ("-march=rv32imafc", "-misa-spec=2.2"), "SIFIVE_U34", _virt("d"),
        abi=("-mabi=ilp32f",), floats=True,
    ),
    ("x86_64", ""): Core(X86_64, "x86_64", ("-march=x86-64",), None, floats=True, lanes=4),
    ("aarch64", ""): Core(ARM64, "generic", ("-march=armv8-a",), "A72", floats=True, lanes=4),
}  # fmt: skip
"""(arch, cpu) of a target file -> core. `-misa-spec=2.2` counts the control registers to I, as zig does."""

FEATURES = {
    "dsp": Feature("dsp"),
    "fpv4-sp": Feature("vfp4d16sp", ("-mfpu=fpv4-sp-d16",), floats=True),
    "fpv5-sp": Feature("fp_armv8d16sp", ("-mfpu=fpv5-sp-d16",), floats=True),
    "mve": Feature("mve_fp", unicorn=False),
    "zve32x": Feature(
        "zve32x+zvl128b",
        unicorn=False,
        brings=("zvl128b",),  # clang vectorises nothing for shorter ones
        qemu=",f=true,d=true,v=true,vext_spec=v1.0,vlen=128",
    ),
    "zba": Feature("zba", unicorn=False, march="_zba"),
    "zbb": Feature("zbb", unicorn=False, march="_zbb"),
    "asimd": Feature("neon"),
    "avx2": Feature("avx2+fma", ("-mavx2", "-mfma"), lanes=8, brings=("fma",)),
    "avx512-vnni": Feature(
        "avx512f+avx512bw+avx512dq+avx512vl+avx512vnni",
        ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"),
        lanes=8,  # loops over twice 16 stay loops in clang, with their sums in memory
        brings=("avx512f", "avx512bw", "avx512dq", "avx512vl"),
    ),
}
"""Feature of a target file -> flags. `mve`: Helium, integers and floats. `zve32x`: RISC-V's vectors of
integers, of 128 bits or more; GCC 12 has no functions for them, so it is told nothing and compiles plain C.
Without a floating point unit, sums of 8-bit tensors are multiplied in fixed point, and floats are computed by
the compiler's library."""


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
    if not core.isa.boot and target.os != "linux":
        raise SprueError(
            f"the C backend makes shared libraries for linux, not for {target.os}",
            where=f"target '{target.id}'",
            remedy="build the CMake project of a linux target there",
        )
    features = [FEATURES[name] for name in target.features]
    floats = core.floats or any(f.floats for f in features)
    cpu, *others = core.gcc
    cpu += "".join(suffix for name, suffix in core.lacking.items() if name not in target.features)
    cpu += "".join(f.march for f in features)
    flags = tuple(flag for f in features for flag in f.gcc)
    board = core.qemu
    if board is not None:
        *options, processor = board.options
        board = replace(board, options=(*options, processor + "".join(f.qemu for f in features)))
    if core.isa is ARM:
        triple = "thumb-freestanding-eabihf" if floats else "thumb-freestanding-eabi"
        flags = ("-mthumb", f"-mfloat-abi={'hard' if floats else 'soft'}", *flags)
    elif core.isa is RISCV:
        triple = "riscv32-freestanding-none"
    else:
        triple = f"{target.arch}-linux-musl"
    return Machine(
        target.cpu or target.arch,
        core.isa,
        triple,
        (f"-mcpu={'+'.join((core.zig, *(f.zig for f in features)))}", *core.abi),
        (cpu, *others, *flags, *core.abi),
        floats,
        not core.isa.boot or (floats and "mve" in target.features),
        core.isa is RISCV,
        "zve32x" in target.features and not floats,
        max([core.lanes, *(f.lanes for f in features)]),
        tuple(dict.fromkeys([*target.features, *(name for f in features for name in f.brings)])),
        core.unicorn if all(f.unicorn for f in features) else None,
        board,
    )


def stand_in(target: Target) -> Target | None:
    """The target whose code unicorn can run in the place of this one's: no feature that it does not know."""
    core = CORES[target.arch, target.cpu]
    features = tuple(f for f in target.features if FEATURES[f].unicorn)
    if core.like is None and features == target.features:
        return None
    arch, cpu = core.like or (target.arch, target.cpu)
    return replace(target, arch=arch, cpu=cpu, features=features)
