"""unicorn runs a firmware: inputs into its memory, its `run` function, outputs out.

Normal runs have no hook, so that they are fast; a run that does not come back is stopped by the clock. The
exact number of instructions is counted in a run of its own, block by block.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sprue.errors import CheckError, SprueError

from .elf import Firmware, Port

if TYPE_CHECKING:
    from unicorn import Uc

PAGE = 4096
STACK = 256 * 1024
"""Bytes of memory for the stack, below the top that the vector table names."""
PAINT = 0xA5
SECONDS = 120
"""After which a run is given up. The largest models that fit a microcontroller need a few."""
BUDGET = 2**33
"""Instructions after which a counted run is given up."""
ARM = 40
"""EM_ARM in an ELF header."""


def available() -> bool:
    return importlib.util.find_spec("unicorn") is not None


class Emulator:
    """A booted device. Raises CheckError when the firmware crashes or does not come back."""

    def __init__(self, firmware: Firmware, cpu: str) -> None:
        if firmware.machine != ARM:
            raise SprueError("the firmware is for another processor", remedy="build it for this target")
        self._firmware = firmware
        self._cpu = cpu
        self._uc = self._boot()
        self._places = {
            p.name: self._call(p.accessor, "an accessor") for p in (*firmware.inputs, *firmware.outputs)
        }

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """One run. `inputs` in the shapes and dtypes of the firmware's ports."""
        self._feed(inputs)
        self._call(self._firmware.run, "the model")
        return {p.name: self._read(p) for p in self._firmware.outputs}

    def count(self, inputs: Mapping[str, NDArray[np.generic]]) -> int:
        """Exact number of instructions of one run, as the processor issues them.

        What an IT block skips is counted: it takes its issue slot on a Cortex-M, and QEMU counts it too.
        """
        total = 0

        def block(_address: int, _size: int, instructions: int) -> None:
            nonlocal total
            total += instructions

        self._walk(inputs, block)
        return total

    def count_calls(self, inputs: Mapping[str, NDArray[np.generic]]) -> list[int]:
        """Instructions of each call that `run` makes, in order; with what the callee calls in its turn.

        The firmware has no symbols. `run` is a straight line of calls: one begins where the link register
        points behind the block that ended in it, or, for a tail call, where a block follows that is not the
        next.
        """
        from unicorn import arm_const as arm

        calls: list[int] = []
        back: int | None = None  # where `run` goes on after the call
        end = self._firmware.run & ~1  # of the last block of `run` itself

        def block(address: int, size: int, instructions: int) -> None:
            nonlocal back, end
            if back is not None and address == back:
                back = None
            elif back is None and address != end:
                back = int(self._uc.reg_read(arm.UC_ARM_REG_LR)) & ~1
                calls.append(0)
            if back is None:
                end = address + size
            else:
                calls[-1] += instructions

        self._walk(inputs, block)
        return calls

    def _walk(
        self, inputs: Mapping[str, NDArray[np.generic]], visit: Callable[[int, int, int], None]
    ) -> None:
        """One run. `visit` gets address, bytes and number of instructions of each block that is executed."""
        from unicorn import UC_HOOK_BLOCK

        lengths: dict[tuple[int, int], int] = {}
        total = 0

        def block(uc: Uc, address: int, size: int, _data: object) -> None:
            nonlocal total
            known = lengths.get((address, size))
            if known is None:
                known = lengths[address, size] = thumb_instructions(bytes(uc.mem_read(address, size)))
            total += known
            visit(address, size, known)
            if total > BUDGET:
                uc.emu_stop()

        self._feed(inputs)
        self._uc.ctl_flush_tb()  # what was translated before has no place for a hook
        hook = self._uc.hook_add(UC_HOOK_BLOCK, block)
        try:
            self._call(self._firmware.run, "the model")
        finally:
            self._uc.hook_del(hook)
            self._uc.ctl_flush_tb()

    def stack(self, inputs: Mapping[str, NDArray[np.generic]]) -> int:
        """Bytes of stack that one run touches, measured by painting it first."""
        low = self._top - STACK
        self._uc.mem_write(low, bytes([PAINT]) * STACK)
        self.run(inputs)
        painted = bytes(self._uc.mem_read(low, STACK))
        untouched = len(painted) - len(painted.lstrip(bytes([PAINT])))
        return STACK - untouched

    def _boot(self) -> Uc:
        import unicorn
        from unicorn import UC_ARCH_ARM, UC_MODE_MCLASS, UC_MODE_THUMB, Uc, UcError
        from unicorn import arm_const as arm

        uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        uc.ctl_set_cpu_model(getattr(arm, self._cpu))
        try:
            self._map(uc)
            uc.mem_map(
                0xE000E000, PAGE
            )  # system control: the firmware turns its floating point unit on there
            uc.reg_write(arm.UC_ARM_REG_SP, self._top)
            uc.emu_start(self._entry | 1, self._firmware.idle & ~1, timeout=SECONDS * 1_000_000)
            if uc.reg_read(arm.UC_ARM_REG_PC) != self._firmware.idle & ~1:
                raise CheckError(f"the firmware did not start within {SECONDS} s")
        except UcError as error:
            raise CheckError(
                f"the firmware crashes at start-up ({error}) in unicorn {unicorn.__version__}"
            ) from error
        return uc

    def _map(self, uc: Uc) -> None:
        pages: set[int] = set()
        for segment in self._firmware.segments:
            for start, size in ((segment.load, len(segment.data)), (segment.address, segment.bytes)):
                pages.update(range(start // PAGE, -(-(start + size) // PAGE)))
        pages.update(range((self._top - STACK) // PAGE, -(-self._top // PAGE)))
        for first, count in _spans(sorted(pages)):
            uc.mem_map(first * PAGE, count * PAGE)
        for segment in self._firmware.segments:
            uc.mem_write(segment.load, segment.data)

    @cached_property
    def _vectors(self) -> tuple[int, int]:
        flash = min(self._firmware.segments, key=lambda s: s.load).data
        if len(flash) < 8:
            raise SprueError("the firmware has no vector table", remedy="build it again")
        return int.from_bytes(flash[:4], "little"), int.from_bytes(flash[4:8], "little")

    @property
    def _top(self) -> int:
        top = self._vectors[0]
        if top % 8 or top < STACK or top > 0xE0000000:
            raise SprueError("the firmware's stack is at an impossible address", remedy="build it again")
        return top

    @property
    def _entry(self) -> int:
        return self._vectors[1]

    def _call(self, address: int, what: str) -> int:
        """Call a function without arguments until it returns; its result (r0)."""
        from unicorn import UcError
        from unicorn import arm_const as arm

        stop = self._firmware.idle & ~1
        self._uc.reg_write(arm.UC_ARM_REG_SP, self._top)
        self._uc.reg_write(arm.UC_ARM_REG_LR, stop | 1)
        try:
            self._uc.emu_start(address | 1, stop, timeout=SECONDS * 1_000_000)
        except UcError as error:
            at = self._uc.reg_read(arm.UC_ARM_REG_PC)
            raise CheckError(
                f"{what} crashes on the emulated {self._cpu[7:]} at 0x{at:08x} ({error})"
            ) from error
        if self._uc.reg_read(arm.UC_ARM_REG_PC) != stop:
            raise CheckError(
                f"{what} does not finish on the emulated {self._cpu[7:]} within {SECONDS} s",
                remedy="the model may be too large for a microcontroller",
            )
        return int(self._uc.reg_read(arm.UC_ARM_REG_R0))

    def _feed(self, inputs: Mapping[str, NDArray[np.generic]]) -> None:
        from unicorn import UcError

        for port in self._firmware.inputs:
            data = np.ascontiguousarray(inputs[port.name]).tobytes()
            try:
                self._uc.mem_write(self._places[port.name], data)
            except UcError as error:
                raise CheckError(f"the input '{port.name}' lies outside the firmware's memory") from error

    def _read(self, port: Port) -> NDArray[np.generic]:
        from unicorn import UcError

        size = int(np.prod(port.shape, dtype=np.int64)) * port.dtype.itemsize
        try:
            data = bytes(self._uc.mem_read(self._places[port.name], size))
        except UcError as error:
            raise CheckError(f"the output '{port.name}' lies outside the firmware's memory") from error
        made: NDArray[np.generic] = np.frombuffer(data, port.dtype).reshape(port.shape)
        return made


def thumb_instructions(code: bytes) -> int:
    """How many Thumb instructions these bytes hold: one of 32 bits begins with 0b11101 or more."""
    count = at = 0
    while at < len(code):
        at += 4 if code[at + 1] >> 3 >= 0b11101 else 2
        count += 1
    return count


def _spans(pages: list[int]) -> list[tuple[int, int]]:
    """Neighbouring pages as (first, count)."""
    spans: list[tuple[int, int]] = []
    for page in pages:
        if spans and sum(spans[-1]) == page:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((page, 1))
    return spans
