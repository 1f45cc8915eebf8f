"""unicorn as the processor: the firmware's memory mapped into this process.

Normal runs have no hook, so that they are fast; a run that does not come back is stopped by the clock. The
exact number of instructions is counted in a run of its own, block by block.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from sprue.errors import CheckError, SprueError

from ..machine import ARM, ARM64, Machine, Register
from . import cycles, emulator
from .cycles import Counted
from .elf import Firmware
from .emulator import STACK, Outside
from .instructions import jumps, split

if TYPE_CHECKING:
    from unicorn import Uc

PAGE = 4096
FLOATS = Register("CPACR_EL1", -1)
"""Whose bits 20 and 21 let programs use the floating point unit of a 64-bit Arm."""
BUDGET = 2**30
"""Blocks of instructions after which a counted run is given up."""


def available() -> bool:
    return importlib.util.find_spec("unicorn") is not None


def warm_up() -> None:
    """Import what running a firmware takes. What is wrong with it says whoever runs one."""
    with suppress(Exception):
        import unicorn  # noqa: F401

        if cycles.available():
            import capstone  # noqa: F401


class UnicornCore:
    """Implements `Probe`. Raises CheckError when the firmware does not start."""

    def __init__(self, firmware: Firmware, machine: Machine) -> None:
        self._firmware = firmware
        self._machine = machine
        self._isa = machine.isa
        self._idle = firmware.idle & ~self._isa.mark
        self._uc = self._boot()

    def write(self, address: int, data: bytes) -> None:
        from unicorn import UcError

        try:
            self._uc.mem_write(address, data)
        except UcError as error:
            raise Outside from error

    def read(self, address: int, size: int) -> bytes:
        from unicorn import UcError

        try:
            return bytes(self._uc.mem_read(address, size))
        except UcError as error:
            raise Outside from error

    def call(self, address: int, what: str) -> int:
        from unicorn import UcError

        self._set(self._isa.stack, self._firmware.stack_top)
        self._set(self._isa.link, self._firmware.idle)
        try:
            self._uc.emu_start(address, self._idle, timeout=emulator.SECONDS * 1_000_000)
        except UcError as error:
            at = self._get(self._isa.counter)
            raise CheckError(
                f"{what} crashes on the emulated {self._machine.cpu} at 0x{at:08x} ({error})"
            ) from error
        if self._get(self._isa.counter) != self._idle:
            raise CheckError(
                f"{what} does not finish on the emulated {self._machine.cpu} within {emulator.SECONDS} s",
                remedy="the model may be too large for a microcontroller",
            )
        return self._get(self._isa.result)

    def count(self, address: int) -> Counted:
        trace = cycles.Trace()
        self.walk(address, trace)
        total = sum(self._instructions(*block) * times for block, times in trace.executions.items())
        timings = cycles.documented(self._machine.cpu) if cycles.available() else None
        return Counted(total, None if timings is None else cycles.estimate(trace, self.read, timings))

    def count_calls(self, address: int) -> list[int]:
        """The firmware has no symbols: a call begins where the link register points behind the block that
        ended in it, or, for a tail call, where a block follows that is not the next or was jumped to.
        """
        calls: list[int] = []
        back: int | None = None  # where the function goes on after the call
        end = address & ~self._isa.mark  # of its own last block
        left = False  # whether that block ended in a jump
        instructions = cache(self._instructions)

        def block(address: int, size: int) -> None:
            nonlocal back, end, left
            if back is not None and address == back:
                back = None
            elif back is None and (address != end or left):
                back = self._get(self._isa.link) & ~self._isa.mark
                calls.append(0)
            if back is None:
                end = address + size
                *_, last = split(self.read(address, size), self._isa.name)
                left = jumps(last, self._isa.name)
            else:
                calls[-1] += instructions(address, size)

        self.walk(address, block)
        return calls

    def _instructions(self, address: int, size: int) -> int:
        return len(list(split(self.read(address, size), self._isa.name)))

    def walk(self, function: int, visit: Callable[[int, int], None]) -> None:
        """One call. `visit` gets address and bytes of each block that is executed."""
        from unicorn import UC_HOOK_BLOCK

        left = BUDGET

        def block(uc: Uc, address: int, size: int, _data: object) -> None:
            nonlocal left
            left -= 1
            visit(address, size)
            if left < 0:
                uc.emu_stop()

        self._uc.ctl_flush_tb()  # what was translated before has no place for a hook
        hook = self._uc.hook_add(UC_HOOK_BLOCK, block)
        try:
            self.call(function, "the model")
        finally:
            self._uc.hook_del(hook)
            self._uc.ctl_flush_tb()

    def _boot(self) -> Uc:
        import unicorn
        from unicorn import UcError

        self._uc = uc = self._made()
        try:
            self._map(uc)
            if self._machine.hosted:  # by an operating system, which has turned floats on
                self._set(FLOATS, 3 << 20)
                return uc
            entry = self._entry(uc)
            uc.emu_start(entry, self._idle, timeout=emulator.SECONDS * 1_000_000)
            if self._get(self._isa.counter) != self._idle:
                raise CheckError(f"the firmware did not start within {emulator.SECONDS} s")
        except UcError as error:
            raise CheckError(
                f"the firmware crashes at start-up ({error}) in unicorn {unicorn.__version__}"
            ) from error
        return uc

    def _made(self) -> Uc:
        from unicorn import (
            UC_ARCH_ARM,
            UC_ARCH_ARM64,
            UC_ARCH_RISCV,
            UC_MODE_ARM,
            UC_MODE_MCLASS,
            UC_MODE_RISCV32,
            UC_MODE_THUMB,
            Uc,
        )

        if self._isa is ARM:
            uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
            uc.ctl_set_cpu_model(getattr(_constants(ARM.name), f"UC_CPU_ARM_{self._machine.unicorn}"))
            return uc
        if self._isa is ARM64:
            uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
            uc.ctl_set_cpu_model(getattr(_constants(ARM64.name), f"UC_CPU_ARM64_{self._machine.unicorn}"))
            return uc
        uc = Uc(UC_ARCH_RISCV, UC_MODE_RISCV32)
        uc.ctl_set_cpu_model(getattr(_constants("riscv"), f"UC_CPU_RISCV32_{self._machine.unicorn}"))
        return uc

    def _entry(self, uc: Uc) -> int:
        """Where a reset goes to, with the stack as it is then. Raises SprueError."""
        flash = min(self._firmware.segments, key=lambda s: s.load)
        if self._isa is not ARM:
            return flash.load
        top, entry = (int.from_bytes(flash.data[at : at + 4], "little") for at in (0, 4))
        if len(flash.data) < 8 or top != self._firmware.stack_top:
            raise SprueError("the firmware has no vector table", remedy="build it again")
        uc.mem_map(0xE000E000, PAGE)  # system control: the firmware turns its floating point unit on there
        self._set(self._isa.stack, top)
        return entry

    def _map(self, uc: Uc) -> None:
        pages: set[int] = set()
        for segment in self._firmware.segments:
            for start, size in ((segment.load, len(segment.data)), (segment.address, segment.bytes)):
                pages.update(range(start // PAGE, -(-(start + size) // PAGE)))
        top = self._firmware.stack_top
        pages.update(range(max(top - STACK, 0) // PAGE, -(-top // PAGE)))
        for first, count in _spans(sorted(pages)):
            uc.mem_map(first * PAGE, count * PAGE)
        for segment in self._firmware.segments:
            uc.mem_write(segment.load, segment.data)

    def _get(self, register: Register) -> int:
        return int(self._uc.reg_read(self._number(register)))

    def _set(self, register: Register, value: int) -> None:
        self._uc.reg_write(self._number(register), value)

    def _number(self, register: Register) -> int:
        name = self._isa.name
        return int(getattr(_constants(name), f"UC_{name.upper()}_REG_{register.unicorn}"))


def _constants(isa: str) -> ModuleType:
    return importlib.import_module(f"unicorn.{isa}_const")


def _spans(pages: list[int]) -> list[tuple[int, int]]:
    """Neighbouring pages as (first, count)."""
    spans: list[tuple[int, int]] = []
    for page in pages:
        if spans and sum(spans[-1]) == page:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((page, 1))
    return spans
