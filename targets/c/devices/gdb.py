"""GDB's remote serial protocol, the client's half: what a debug probe does, over a pair of pipes.

Memory, registers, breakpoints, run until stopped. The protocol: "Remote Protocol" in GDB's manual.
"""

from __future__ import annotations

import os
import select
import time
from typing import IO

from sprue.errors import CheckError

MOST = 1024
"""Bytes of memory in one packet: QEMU takes packets of 4096 characters."""


class Gone(CheckError):
    """The other side closed the connection, or its answer makes no sense."""


class Late(Gone):
    """The other side did not answer in time."""


class Refused(Exception):
    """The other side answered with an error: there is no such memory or register."""


class Remote:
    """A stub at the other end of two binary pipes. Every method raises Gone, and Refused."""

    def __init__(self, to: IO[bytes], back: IO[bytes], seconds: float) -> None:
        """`seconds`: after which any answer is given up."""
        self._to = to
        self._back = back
        self._seconds = seconds
        self._received = b""
        self._acknowledging = True
        if self.ask("QStartNoAckMode") == "OK":
            self._acknowledging = False
        self.ask("qXfer:features:read:target.xml:0,400")  # QEMU answers `p` and `P` only to who asked for it

    def read(self, address: int, size: int) -> bytes:
        parts = [
            self._memory(f"m{address + at:x},{min(MOST, size - at):x}", min(MOST, size - at))
            for at in range(0, size, MOST)
        ]
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        for at in range(0, len(data), MOST):
            part = data[at : at + MOST]
            self._sure(f"M{address + at:x},{len(part):x}:{part.hex()}")

    def register(self, number: int) -> int:
        return int.from_bytes(self._hex(self.ask(f"p{number:x}"))[:4], "little")

    def set_register(self, number: int, value: int) -> None:
        self._sure(f"P{number:x}={value.to_bytes(4, 'little').hex()}")

    def stop_at(self, address: int, bytes_of_code: int) -> None:
        self._sure(f"Z0,{address:x},{bytes_of_code}")

    def forget_stop(self, address: int, bytes_of_code: int) -> None:
        self._sure(f"z0,{address:x},{bytes_of_code}")

    def go(self) -> None:
        """Run until something stops it."""
        self._stopped(self.ask("c"))

    def step(self) -> None:
        """One instruction."""
        self._stopped(self.ask("s"))

    def monitor(self, command: str) -> str:
        """What the emulator's own monitor says."""
        said = b""
        answer = self.ask(f"qRcmd,{command.encode().hex()}")
        while answer.startswith("O") and answer != "OK":
            said += self._hex(answer[1:])
            answer = self._answer()
        return said.decode("utf-8", "replace")

    def ask(self, packet: str) -> str:
        body = packet.encode()
        try:
            self._to.write(b"$%s#%02x" % (body, sum(body) % 256))
            self._to.flush()
        except OSError as error:
            raise Gone(f"the emulator ended ({error})") from error
        return self._answer()

    def _memory(self, packet: str, size: int) -> bytes:
        answer = self.ask(packet)
        if answer.startswith("E"):
            raise Refused(f"'{answer}' to {packet}")
        data = self._hex(answer)
        if len(data) != size:
            raise Gone(f"the emulator gives {len(data)} bytes of {size}")
        return data

    def _sure(self, packet: str) -> None:
        answer = self.ask(packet)
        if answer != "OK":
            raise Refused(f"'{answer}' to {packet[:20]}")

    def _stopped(self, answer: str) -> None:
        if answer[:1] not in ("S", "T"):
            raise Gone(f"the emulator answers '{answer}' instead of stopping")

    def _hex(self, text: str) -> bytes:
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise Gone(f"the emulator answers '{text[:20]}' instead of bytes") from error

    def _answer(self) -> str:
        """The next packet, without its frame."""
        end = time.monotonic() + self._seconds
        while True:
            start = self._received.find(b"$")
            stop = self._received.find(b"#", start)
            if 0 <= start < stop and len(self._received) >= stop + 3:
                body, self._received = self._received[start + 1 : stop], self._received[stop + 3 :]
                if self._acknowledging:
                    self._to.write(b"+")
                    self._to.flush()
                return body.decode("latin-1")
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._back], [], [], left)[0]:
                raise Late(f"the emulator does not answer within {self._seconds} s")
            more = os.read(self._back.fileno(), 65536)
            if not more:
                raise Gone("the emulator ended")
            self._received += more
