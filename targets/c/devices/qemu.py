"""QEMU as the processor, in a process of its own, driven as a debug probe drives a board (gdb.py).

For cores that unicorn does not know, and as a second opinion on those that it does. QEMU's execution record
(`-icount ...,rr=record`) counts every instruction, exactly; the record itself is thrown away.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path

from sprue.errors import CheckError, SprueError

from ..machine import Machine, Register
from . import emulator
from .cycles import Counted
from .elf import Firmware
from .emulator import STACK, Outside
from .gdb import Gone, Late, Refused, Remote
from .instructions import jumps, split

ARM = "qemu-system-arm"
RISCV = "qemu-system-riscv32"
INSTALL = "apt-get install qemu-system-arm qemu-system-misc (or QEMU from https://www.qemu.org)"


@cache
def version(program: str) -> str | None:
    """Of the QEMU on PATH; None where there is none or it does not start."""
    path = shutil.which(program)
    if path is None:
        return None
    with suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
        found = re.search(r"version (\d[\w.]*)", said.stdout)
        return found[1] if found else None
    return None


def runs(firmware: Firmware, machine: Machine) -> bool:
    """Whether the program is here, and its board has memory for all of the firmware and the stack."""
    board, isa = machine.qemu, machine.isa
    if board is None or version(board.program) is None:
        return False
    places = [(isa.flash_origin, board.flash), (isa.ram_origin, board.ram)]
    spans = [(s.load, len(s.data)) for s in firmware.segments]
    spans += [(s.address, s.bytes) for s in firmware.segments]
    spans.append((firmware.stack_top - STACK, STACK))
    return all(any(o <= at and at + size <= o + most for o, most in places) for at, size in spans if size)


class QemuBoard:
    """Implements `Probe`. The process ends with the object. Raises CheckError when it does not start."""

    def __init__(self, firmware: Firmware, elf: Path, machine: Machine) -> None:
        assert machine.qemu is not None
        self._firmware = firmware
        self._machine = machine
        self._isa = machine.isa
        self._idle = firmware.idle & ~self._isa.mark
        self._remote = self._start([machine.qemu.program, *machine.qemu.options], elf)
        for address in (firmware.idle, firmware.fault):
            self._remote.stop_at(address & ~self._isa.mark, 2)
        self._go("the firmware")

    def write(self, address: int, data: bytes) -> None:
        try:
            self._remote.write(address, data)
        except Refused as error:
            raise Outside from error

    def read(self, address: int, size: int) -> bytes:
        try:
            return self._remote.read(address, size)
        except Refused as error:
            raise Outside from error

    def call(self, address: int, what: str) -> int:
        self._enter(address)
        self._go(what)
        return self._get(self._isa.result)

    def count(self, address: int) -> Counted:
        self._enter(address)
        before = self._count()
        self._go("the model")
        return Counted(self._count() - before)

    def count_calls(self, address: int) -> list[int]:
        """Steps through the function itself: where the next instruction is another one, a call begins."""
        calls: list[int] = []
        self._enter(address)
        at = address & ~self._isa.mark
        while at != self._idle:
            before = self._get(self._isa.link)
            left = jumps(next(split(self.read(at, 4), self._isa.name)), self._isa.name)
            self._remote.step()
            now, link = self._get(self._isa.counter), self._get(self._isa.link)
            if (left or now not in (at + 2, at + 4)) and now != self._idle:
                back = link & ~self._isa.mark
                if link == before and back != self._idle:
                    raise SprueError("the firmware's calls are no straight line", remedy="build it again")
                started = self._count()
                self._until(back)
                calls.append(self._count() - started)
                now = back
            at = now
        return calls

    def _start(self, command: list[str], elf: Path) -> Remote:
        command += ["-nodefaults", "-display", "none", "-net", "none", "-S", "-gdb", "stdio"]
        command += ["-icount", f"shift=0,rr=record,rrfile={os.devnull}", "-kernel", str(elf.absolute())]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise SprueError(f"{command[0]} could not be started ({error})", remedy=INSTALL) from error
        self._stop = weakref.finalize(self, _stop, process)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            return Remote(process.stdin, process.stdout, emulator.SECONDS)
        except Gone as error:
            raise CheckError(f"{command[0]} does not start ({error.what})") from error

    def _enter(self, address: int) -> None:
        self._set(self._isa.stack, self._firmware.stack_top)
        self._set(self._isa.link, self._firmware.idle)
        self._set(self._isa.counter, address & ~self._isa.mark)

    def _until(self, address: int) -> None:
        if address != self._idle:
            self._remote.stop_at(address, 2)
        self._go("the model", address)
        if address != self._idle:
            self._remote.forget_stop(address, 2)

    def _go(self, what: str, until: int | None = None) -> None:
        """Until it stops where it should: at `until`, or where the firmware waits."""
        cpu = self._machine.cpu
        try:
            self._remote.go()
        except Late as error:
            raise CheckError(
                f"{what} does not finish on the emulated {cpu} within {emulator.SECONDS} s",
                remedy="the model may be too large for a microcontroller",
            ) from error
        except Gone as error:
            raise CheckError(f"{what} crashes on the emulated {cpu} ({error.what})") from error
        if self._get(self._isa.counter) != (self._idle if until is None else until):
            raise CheckError(f"{what} crashes on the emulated {cpu}")

    def _count(self) -> int:
        said = self._remote.monitor("info replay")
        found = re.search(r"instruction count = (\d+)", said)
        if found is None:
            raise SprueError(f"QEMU does not count instructions: it says '{said.strip()}'")
        return int(found[1])

    def _get(self, register: Register) -> int:
        return self._remote.register(register.gdb)

    def _set(self, register: Register, value: int) -> None:
        self._remote.set_register(register.gdb, value)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
