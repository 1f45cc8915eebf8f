"""A shared library for 64-bit Linux, read as untrusted input: what an emulator needs, what must not be in it.

Ours depends on nothing, runs nothing when it is loaded, and needs no relocation. What differs is refused
before any loader sees it. Layout: System V ABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from .elf import MAX_MEMORY, Segment, parsed

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM = struct.Struct("<IIQQQQQQ")
DYNAMIC = struct.Struct("<qQ")
SYMBOL = struct.Struct("<IBBHQQ")
LOAD, TABLE = 1, 2
"""Kinds of program headers."""
STRINGS, SYMBOLS, STRINGS_SIZE, HASH = 5, 6, 10, 4
REFUSED = {
    1: "another library", 7: "relocations", 12: "code that runs when it is loaded", 13: "code that runs last",
    15: "a search path", 17: "relocations", 23: "relocations", 25: "code that runs when it is loaded",
    26: "code that runs last", 29: "a search path", 32: "code that runs when it is loaded", 36: "relocations",
}  # fmt: skip
"""Tags of the dynamic section that would make a loader do more than map the file."""
MAX_SYMBOLS = 1024


@dataclass(frozen=True)
class SharedObject:
    """`symbols`: the functions that it exports, by name, as addresses. `file`: bytes of the file; `ram`: of
    what is written to while it runs.
    """

    machine: int
    segments: tuple[Segment, ...]
    symbols: dict[str, int]
    file: int
    ram: int


def read_shared_object(path: Path) -> SharedObject:
    """Raises SprueError for a file that is missing, truncated, or not what sprue writes."""
    return parsed(path, "shared library", _parse)


def _parse(data: bytes) -> SharedObject:
    ident, kind, machine, _, _, at, _, _, _, size, count, *_ = HEADER.unpack_from(data)
    if ident[:6] != b"\x7fELF\x02\x01" or kind != 3:
        raise ValueError("no little-endian 64-bit shared object")
    if size != PROGRAM.size or count > 64:
        raise ValueError("unusual program headers")
    segments, ram, total = [], 0, 0
    table = b""
    for index in range(count):
        kind, flags, offset, address, _, stored, memory, _ = PROGRAM.unpack_from(data, at + index * size)
        if stored > memory or offset + stored > len(data):
            raise ValueError("truncated")
        if kind == TABLE:
            table = data[offset : offset + stored]
        if kind != LOAD or memory == 0:
            continue
        total += memory
        if total > MAX_MEMORY or address + memory > 2**32:
            raise ValueError("a segment has impossible sizes")
        segments.append(Segment(address, address, data[offset : offset + stored], memory))
        ram += memory if flags & 2 and stored == 0 else 0
    if not segments:
        raise ValueError("nothing to load")
    found = _dynamic(table)
    return SharedObject(machine, tuple(segments), _symbols(segments, found), len(data), ram)


def _dynamic(table: bytes) -> dict[int, int]:
    """The dynamic section, tag -> value, up to its end."""
    found: dict[int, int] = {}
    for at in range(0, len(table) - DYNAMIC.size + 1, DYNAMIC.size):
        tag, value = DYNAMIC.unpack_from(table, at)
        if tag == 0:
            break
        if tag in REFUSED:
            raise ValueError(f"it has {REFUSED[tag]}")
        found[tag] = value
    return found


def _symbols(segments: list[Segment], found: dict[int, int]) -> dict[str, int]:
    """The exported functions; the number of all symbols stands in the hash table."""
    if not {STRINGS, SYMBOLS, STRINGS_SIZE, HASH} <= found.keys():
        raise ValueError("no table of symbols")
    (count,) = struct.unpack("<I", _bytes(segments, found[HASH] + 4, 4))
    if count > MAX_SYMBOLS:
        raise ValueError("too many symbols")
    names = _bytes(segments, found[STRINGS], found[STRINGS_SIZE])
    made: dict[str, int] = {}
    for index in range(1, count):
        entry = _bytes(segments, found[SYMBOLS] + index * SYMBOL.size, SYMBOL.size)
        name, info, _, section, value, _ = SYMBOL.unpack(entry)
        text = names[name:].split(b"\0", 1)[0].decode()
        if section == 0:
            raise ValueError(f"it lacks the function '{text}'")
        if info & 0xF == 2:  # STT_FUNC
            made[text] = value
    return made


def _bytes(segments: list[Segment], address: int, size: int) -> bytes:
    for segment in segments:
        start = address - segment.address
        if start >= 0 and start + size <= len(segment.data):
            return segment.data[start : start + size]
    raise ValueError("an address outside of the file")
