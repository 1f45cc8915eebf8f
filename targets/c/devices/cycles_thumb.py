"""Timings of Thumb code on Cortex-M0+, M3 and M4, as Arm's Technical Reference Manuals have them.

M0+: DDI 0484C, table 3-1, for memory on the bus and the multiplier that takes a cycle (the other takes 32).
M3: DDI 0337I, table 3-1 and section 3.3.2. M4: 100166, tables 3-1 and 7-1, section 3.3.3. All hold at zero
wait states. Where a manual gives a range, the middle is taken. docs/embedded.md says what could be confirmed,
and by what. Not modelled: unaligned accesses, contention for the bus, and divisions that overlap with what
follows. M7, M33 and M55 are not here: Arm publishes no
cycles of their instructions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING

from .cycles import Block, Timings

if TYPE_CHECKING:
    from capstone import Cs, CsInsn

TIMINGS: tuple[tuple[str, frozenset[str], int], ...] = (
    ("branch", frozenset({"b", "bl", "bx", "blx", "cbz", "cbnz"}), 1),
    ("branch", frozenset({"tbb", "tbh"}), 3),
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
class Core:
    """`pipelined`: a load or store right after a load takes a cycle less, and one more right after an
    instruction that computes its address. `own`: cycles of instructions that take others than in TIMINGS.
    `to_counter`: what loading the program counter takes on top of a taken branch.
    """

    pipelined: bool = True
    own: Mapping[str, int] = field(default_factory=dict)
    to_counter: int = 0


M0PLUS = Core(False, {"str": 2, "strb": 2, "strh": 2, "bl": 2}, 1)
M3 = Core(own={"mla": 2, "mls": 2, "smull": 4, "umull": 4, "smlal": 6, "umlal": 6})
"""SMULL 3 to 5 cycles, SMLAL 4 to 7, by their operands."""
M4 = Core()


def block(code: bytes, core: Core) -> Block:
    """The cycles of Thumb instructions that run in a row."""
    engine = _engine()
    return _block([(engine.insn_name(i.id), i) for i in engine.disasm(code, 0)], core)


@cache
def _engine() -> Cs:
    import capstone

    engine = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    engine.detail = True
    return engine


def _block(instructions: Iterable[tuple[str, CsInsn]], core: Core) -> Block:
    """On M3 and M4 what accesses one word right after a load of one takes a cycle less, but one at least,
    unless its address needs what that one loads, or either moves its base register.
    """
    classes: Counter[str] = Counter()
    cycles = 0
    loaded: int | None = None  # the register that the instruction before loads, if this one may overlap it
    computed: list[int] = []  # those that it computes
    for name, instruction in instructions:
        kind, base = classify(name)
        classes[kind] += 1
        took = _cycles(name, instruction, core.own.get(name, base), core)
        moves = kind.endswith(("load", "store"))
        single = moves and name not in SEVERAL and not instruction.writeback
        address = _address(name, instruction) if moves else []
        if core.pipelined:
            took += any(r in computed for r in address)
            took -= single and loaded is not None and loaded not in address and took > 1
        cycles += took
        loaded = instruction.operands[0].reg if single and kind.endswith("load") else None
        computed = [] if moves else instruction.regs_access()[1]
    return Block(cycles, classes)


def classify(name: str) -> tuple[str, int]:
    """The class of an instruction, and the cycles of one."""
    for kind, names, cycles in TIMINGS:
        if name in names:
            return kind, cycles
    if name.startswith(("v", "fconst", "fmstat")):
        return "float", 1
    return ("multiply" if name.startswith(MULTIPLIES) else "other"), 1


def _cycles(name: str, instruction: CsInsn, base: int, core: Core) -> int:
    from capstone import arm

    registers = [o.reg for o in instruction.operands if o.type == arm.ARM_OP_REG]
    if name in SEVERAL:
        words = registers[1:] if name[0] != "v" and name.startswith(("ldm", "stm")) else registers
        words = words[1:] if name[0] == "v" and name[1:3] in ("ld", "st") else words
        return 1 + sum(2 if _double(r) else 1 for r in words) + core.to_counter * (arm.ARM_REG_PC in words)
    if name in ("str", "strb", "strh") and core.pipelined:
        return base + (len(_address(name, instruction)) > 1)  # an offset in a register takes a cycle more
    if name in ("vldr", "vstr"):
        return base + _double(registers[0])
    if name == "vmov" and any(map(_core, registers)) and len(registers) > 1:
        return 2
    return base


def _address(name: str, instruction: CsInsn) -> list[int]:
    """The registers that say where in memory."""
    from capstone import arm

    if name.endswith(("push", "pop")):
        return [arm.ARM_REG_SP]
    if name.startswith(("ldm", "stm", "vldm", "vstm")):
        return [instruction.operands[0].reg]
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


CORES = {
    "cortex-m0plus": Timings("Arm's Cortex-M0+ timings", partial(block, core=M0PLUS), refill=1),
    "cortex-m3": Timings("Arm's Cortex-M3 timings", partial(block, core=M3), refill=2),
    "cortex-m4": Timings("Arm's Cortex-M4 timings", partial(block, core=M4), refill=2),
}
"""Processor, as target files call it. `refill` of M3 and M4: P, which the manuals say is 1 to 3."""
