"""Machine code as instructions: where they begin, and which ones jump. Thumb, RISC-V: 16 or 32 bits; 64-bit
Arm: 32.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..machine import ARM, ARM64


def split(code: bytes, isa: str) -> Iterator[int]:
    """Each instruction as a number of 16 bits, or of 32 with the first half below.

    One of 32 bits begins with 0b11101 or more in Thumb code, and ends its first byte with 0b11 on RISC-V.
    """
    at = 0
    while at < len(code):
        if isa == ARM64.name:
            long = True
        else:
            long = code[at + 1] >> 3 >= 0b11101 if isa == ARM.name else code[at] & 3 == 3
        size = 4 if long else 2
        yield int.from_bytes(code[at : at + size], "little")
        at += size


def jumps(instruction: int, isa: str) -> bool:
    """Whether it always goes elsewhere and leaves no way back: `b`, on 64-bit Arm `br`, and on
    RISC-V `j` and `jr`."""
    if isa == ARM64.name:
        return instruction & 0xFC000000 == 0x14000000 or instruction & 0xFFFFFC1F == 0xD61F0000
    if isa == ARM.name:
        short, first, second = instruction, instruction & 0xFFFF, instruction >> 16
        if second:
            return first & 0xF800 == 0xF000 and second & 0xD000 == 0x9000
        return short & 0xF800 == 0xE000
    if instruction & 3 == 3:
        return instruction & 0xFFF in (0x06F, 0x067)  # jal and jalr that keep no return address
    return instruction & 0xE003 == 0xA001 or (instruction & 0xF07F == 0x8002 and instruction != 0x8002)
