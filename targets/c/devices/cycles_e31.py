"""Timings of SiFive's E31, a RISC-V core of five stages that issues one instruction at a time (RV32IMAC).

SiFive FE310-G000 Manual, sections 3.2 and 3.3: results of LW come after two cycles, of LB, LBU, LH, LHU and
of CSR reads after three, of multiplications after five, of divisions after 2 to 33 (the middle is taken), of
all others after one. An instruction waits for the registers that it reads or writes. One multiplication or
division runs at a time. A mispredicted branch costs three cycles: taken to be one is each that goes another
way than the last time. Not modelled: misses of the instruction cache, and results that are still to come when
a block begins.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

from .cycles import Block, Timings

if TYPE_CHECKING:
    from capstone import Cs, CsInsn

CLASSES: tuple[tuple[str, frozenset[str], int], ...] = (
    ("multiply", frozenset({"mul", "mulh", "mulhu", "mulhsu"}), 5),
    ("divide", frozenset({"div", "divu", "rem", "remu"}), 17),
    ("load", frozenset({"lw", "c.lw", "c.lwsp", "lr.w"}), 2),
    ("load", frozenset({"lb", "lbu", "lh", "lhu"}), 3),
    ("store", frozenset({"sb", "sh", "sw", "c.sw", "c.swsp"}), 1),
    (
        "branch",
        frozenset({"beq", "bne", "blt", "bge", "bltu", "bgeu", "c.beqz", "c.bnez"})
        | {"jal", "jalr", "c.j", "c.jal", "c.jr", "c.jalr"},
        1,
    ),
    ("other", frozenset({"csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci"}), 3),
)
"""Class, its instructions, cycles until a result can be used. All others: 1."""
LINKING = frozenset({"jal", "jalr"})
"""The branches whose first register is written."""


def block(code: bytes) -> Block:
    """The cycles of instructions that run in a row, until the last one is issued."""
    from capstone import riscv

    engine = _engine()
    classes: Counter[str] = Counter()
    ready: dict[int, int] = {}  # register -> the cycle from which on it can be used
    unit = cycle = 0  # until when the multiplier and divider is busy; the next cycle
    for instruction in engine.disasm(code, 0):
        name = engine.insn_name(instruction.id)
        kind, latency = classify(name)
        classes[kind] += 1
        registers = _registers(instruction)
        issued = max([cycle, *(ready.get(r, 0) for r in registers)])
        if kind in ("multiply", "divide"):
            issued = max(issued, unit)
            unit = issued + latency
        if registers and (kind not in ("store", "branch") or name in LINKING):
            ready[registers[0]] = issued + latency
            ready.pop(riscv.RISCV_REG_X0, None)  # it stays zero
        cycle = issued + 1
    return Block(cycle, classes)


def classify(name: str) -> tuple[str, int]:
    """The class of an instruction, and after how many cycles its result can be used."""
    for kind, names, latency in CLASSES:
        if name in names:
            return kind, latency
    return "other", 1


@cache
def _engine() -> Cs:
    import capstone

    engine = capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC)
    engine.detail = True
    return engine


def _registers(instruction: CsInsn) -> list[int]:
    """All that it names; the first is written, except by stores and branches."""
    from capstone import riscv

    return [
        o.mem.base if o.type == riscv.RISCV_OP_MEM else o.reg
        for o in instruction.operands
        if o.type in (riscv.RISCV_OP_REG, riscv.RISCV_OP_MEM)
    ]


CORES = {"sifive-e31": Timings("SiFive's E31 timings", block, turn=3)}
"""Processor, as target files call it."""
