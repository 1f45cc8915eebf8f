"""Estimates of cycles: what was executed, times what a processor's manual says of each instruction.

Blocks of instructions are counted while an emulator runs; each is disassembled once (capstone). Which manual
says what stands in cycles_thumb.py and cycles_e31.py. Not modelled: wait states of the flash, and what
caches hide of them.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Instructions that run one after another. `cycles`: without what a taken branch at the end adds."""

    cycles: int
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Timings:
    """What is documented of a processor. `source`: by whom. `block`: of machine code that runs in a row.

    `refill`: cycles that a taken branch costs on top. `turn`: those of one that goes another way than the
    last time.
    """

    source: str
    block: Callable[[bytes], Block]
    refill: int = 0
    turn: int = 0


@dataclass(frozen=True)
class Estimate:
    """Of one run. `classes`: instructions executed of each class, the most frequent first.

    `source`: of the timings.
    """

    cycles: int
    classes: Mapping[str, int]
    source: str

    def notes(self) -> dict[str, str]:
        return {
            "cycles": f"an estimate: what ran x {self.source}; flash wait states are not modelled",
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
        self.turned = 0
        """How often another block follows than the last time."""
        self._next = -1
        self._followers: dict[int, int] = {}

    def __call__(self, address: int, size: int) -> None:
        block = address, size
        self.executions[block] = self.executions.get(block, 0) + 1
        if address != self._next:
            self.taken += 1
        if self._followers.setdefault(self._next, address) != address:
            self.turned += 1
            self._followers[self._next] = address
        self._next = address + size


def available() -> bool:
    return importlib.util.find_spec("capstone") is not None


def documented(cpu: str) -> Timings | None:
    """Of a processor as target files call it; None where nothing that can be trusted is published."""
    from . import cycles_e31, cycles_thumb

    return {**cycles_thumb.CORES, **cycles_e31.CORES}.get(cpu)


def estimate(trace: Trace, read: Callable[[int, int], bytes], timings: Timings) -> Estimate:
    """`read`: the bytes of code at an address. Needs capstone."""
    classes: Counter[str] = Counter()
    cycles = timings.refill * trace.taken + timings.turn * trace.turned
    for (address, size), times in trace.executions.items():
        one = timings.block(read(address, size))
        cycles += one.cycles * times
        for name, count in one.classes.items():
            classes[name] += count * times
    return Estimate(cycles, dict(classes.most_common()), timings.source)
