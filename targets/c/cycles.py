"""An estimate of Cortex-M4 cycles: what was executed, times what Arm documents of each instruction.

Blocks of instructions are counted while an emulator runs; each is disassembled once (capstone). Timings: Arm
Cortex-M4 Processor Technical Reference Manual (100166), tables 3-1 and 7-1, at zero wait states. Where the
manual gives a range, the middle is taken. Not modelled: wait states of the flash and what a cache hides of
them, unaligned accesses, contention for the bus, and divisions that overlap with what follows.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capstone import Cs, CsInsn

CPU = "cortex-m4"
"""The processor whose timings stand here, as target files call it."""
REFILL = 2
"""P, the cycles that a taken branch costs on top of 1: the manual says 1 to 3."""

TIMINGS: tuple[tuple[str, frozenset[str], int], ...] = (
    ("branch", frozenset({"b", "bl", "bx", "blx", "cbz", "cbnz", "tbb", "tbh"}), 1),
    ("load", frozenset({"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh", "ldrd", "ldm", "ldmdb", "pop"}), 2),
    ("store", frozenset({"str", "strb", "strh", "strd", "stm", "stmdb", "push"}), 1),
    ("divide", frozenset({"sdiv", "udiv"}), 7),  # 2 to 12
    ("float load", frozenset({"vldr", "vldmia", "vldmdb", "vpop"}), 2),
    ("float store", frozenset({"vstr", "vstmia", "vstmdb", "vpush"}), 2),
    (
        "float multiply-accumulate",
        frozenset({"vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms"}),
        3,
    ),
    ("float divide, root", frozenset({"vdiv", "vsqrt"}), 14),
)
"""Class, its instructions without condition and width, cycles of one. The others take 1."""
MULTIPLIES = ("mul", "mla", "mls", "smul", "smla", "smml", "smua", "smus", "smls", "umul", "umla", "umaal")
SEVERAL = frozenset({"ldrd", "ldm", "ldmdb", "pop", "strd", "stm", "stmdb", "push"} | {
    f"v{name}" for name in ("ldmia", "ldmdb", "pop", "stmia", "stmdb", "push")
})  # fmt: skip
"""1 + N cycles, for N words."""


@dataclass(frozen=True)
class Block:
    """Instructions that run one after another. `cycles`: without what a taken branch at the end adds."""

    cycles: int
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Estimate:
    """Of one run. `classes`: instructions executed of each class, the most frequent first."""

    cycles: int
    classes: Mapping[str, int]

    def notes(self) -> dict[str, str]:
        return {
            "cycles": "an estimate: what ran x Arm's Cortex-M4 timings; flash wait states are not modelled",
            "instruction mix": self.mix(),
        }

    def mix(self) -> str:
        """The share of each class that makes up at least 1 % of the instructions."""
        total = sum(self.classes.values())
        return ", ".join(f"{name} {n / total:.0%}" for name, n in self.classes.items() if n >= 0.01 * total)


@dataclass(frozen=True)
class Counted:
    """`instructions` of one run, exact; `estimate`: None where nothing documents the processor's timings."""

    instructions: int
    estimate: Estimate | None = None


class Trace:
    """What ran: a visitor of each block that is executed, in order. It is called a million times a run."""

    def __init__(self) -> None:
        self.executions: dict[tuple[int, int], int] = {}
        """(address, bytes) -> how often."""
        self.taken = 0
        """How often a block follows that is not the next in memory."""
        self._next = -1

    def __call__(self, address: int, size: int) -> None:
        block = address, size
        self.executions[block] = self.executions.get(block, 0) + 1
        if address != self._next:
            self.taken += 1
        self._next = address + size


def available() -> bool:
    return importlib.util.find_spec("capstone") is not None


def estimate(trace: Trace, read: Callable[[int, int], bytes]) -> Estimate:
    """`read`: the bytes of code at an address. Needs capstone."""
    classes: Counter[str] = Counter()
    cycles = REFILL * trace.taken
    for (address, size), times in trace.executions.items():
        one = block(read(address, size))
        cycles += one.cycles * times
        for name, count in one.classes.items():
            classes[name] += count * times
    return Estimate(cycles, dict(classes.most_common()))


def block(code: bytes) -> Block:
    """The cycles of Thumb instructions that run in a row."""
    engine = _engine()
    return _block((engine.insn_name(i.id), i) for i in engine.disasm(code, 0))


@cache
def _engine() -> Cs:
    import capstone

    engine = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    engine.detail = True
    return engine


def _block(instructions: Iterable[tuple[str, CsInsn]]) -> Block:
    """Loads of one word pipeline (section 3.3.3): one right after another takes 1 cycle instead of 2, unless
    it needs what that one loads, or either moves its base register.
    """
    classes: Counter[str] = Counter()
    cycles = 0
    loaded: int | None = None  # the register that the instruction before loads, if the next load may overlap
    for name, instruction in instructions:
        kind, base = classify(name)
        classes[kind] += 1
        single = kind.endswith("load") and name not in SEVERAL and not instruction.writeback
        if single:
            waits = loaded is None or loaded in _address(instruction)
            cycles += base if waits else base - 1
        else:
            cycles += _cycles(name, instruction, base)
        loaded = instruction.operands[0].reg if single else None
    return Block(cycles, classes)


def classify(name: str) -> tuple[str, int]:
    """The class of an instruction, and the cycles of one."""
    for kind, names, cycles in TIMINGS:
        if name in names:
            return kind, cycles
    if name.startswith(("v", "fconst", "fmstat")):
        return "float", 1
    return ("multiply" if name.startswith(MULTIPLIES) else "other"), 1


def _cycles(name: str, instruction: CsInsn, base: int) -> int:
    from capstone import arm

    registers = [o.reg for o in instruction.operands if o.type == arm.ARM_OP_REG]
    if name in SEVERAL:
        words = registers[1:] if name[0] != "v" and name.startswith(("ldm", "stm")) else registers
        words = words[1:] if name[0] == "v" and name[1:3] in ("ld", "st") else words
        return 1 + sum(2 if _double(r) else 1 for r in words)
    if name in ("str", "strb", "strh"):  # with the offset in a register, its address takes a cycle more
        return base + (len(_address(instruction)) > 1)
    if name == "vmov" and any(map(_core, registers)) and len(registers) > 1:
        return 2
    return base


def _address(instruction: CsInsn) -> list[int]:
    """The registers of a memory operand."""
    from capstone import arm

    return [
        register
        for operand in instruction.operands
        if operand.type == arm.ARM_OP_MEM
        for register in (operand.mem.base, operand.mem.index)
        if register
    ]


def _double(register: int) -> bool:
    from capstone import arm

    return bool(arm.ARM_REG_D0 <= register <= arm.ARM_REG_D31)


def _core(register: int) -> bool:
    from capstone import arm

    core = (arm.ARM_REG_SP, arm.ARM_REG_LR, arm.ARM_REG_PC)
    return bool(arm.ARM_REG_R0 <= register <= arm.ARM_REG_R12) or register in core
