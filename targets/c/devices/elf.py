"""A firmware ELF file, read as untrusted input: every offset and size is checked before it is used.

Only what an emulator needs: the segments to load, and sprue's description of inputs and outputs (section
`.sprue`, see templates/main.c.j2).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from sprue.errors import SprueError

T = TypeVar("T")

MAX_FILE = 64 * 2**20
MAX_MEMORY = 64 * 2**20
"""Bytes of all segments together; more than any microcontroller has."""
MAX_PORTS = 64
DTYPES = (
    "float16",
    "float32",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "bool",
)
HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
SEGMENT = struct.Struct("<IIIIIIII")
SECTION = struct.Struct("<IIIIIIIIII")
DESCRIPTION = struct.Struct("<8sIIIIIIII")
PORT = struct.Struct("<II8sI8I")


@dataclass(frozen=True)
class Segment:
    """`data` at the address `load` (flash), copied to `address` at start-up; `bytes` of memory in all."""

    address: int
    load: int
    data: bytes
    bytes: int


@dataclass(frozen=True)
class Port:
    """An input or output: `accessor` is the address of the C function that returns where it lies."""

    name: str
    accessor: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Firmware:
    """`idle`, `fault`, `run`: code addresses. `stack_top`: where the stack begins, downwards. `flash`, `ram`:
    bytes loaded, and bytes of static data.
    """

    segments: tuple[Segment, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    machine: int
    idle: int
    fault: int
    run: int
    stack_top: int
    arena: int
    flash: int
    ram: int


def read_firmware(path: Path) -> Firmware:
    """Raises SprueError for a file that is missing, truncated, or not what sprue writes."""
    return parsed(path, "firmware", _parse)


def parsed(path: Path, kind: str, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of a file of that `kind`, in words. Raises SprueError.

    For a damaged one `parse` may raise ValueError, struct.error or UnicodeDecodeError.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise SprueError(f"larger than any {kind} of ours", where=str(path), remedy="build it again")
        data = path.read_bytes()
    except OSError as error:
        raise SprueError(f"there is no such {kind}", where=str(path), remedy="build it again") from error
    try:
        return parse(data)
    except (ValueError, struct.error, UnicodeDecodeError) as error:
        raise SprueError(
            f"not a {kind} that sprue wrote, or a damaged one ({error})",
            where=str(path),
            remedy="build it again",
        ) from error


def _parse(data: bytes) -> Firmware:
    header = HEADER.unpack_from(data)
    ident, kind, machine = header[0], header[1], header[2]
    if ident[:6] != b"\x7fELF\x01\x01" or kind != 2:
        raise ValueError("no little-endian 32-bit executable")
    segment_at, section_at = header[5], header[6]
    segment_size, segment_count, section_size, section_count, names_index = header[9:14]
    if (
        segment_size != SEGMENT.size
        or section_size != SECTION.size
        or segment_count > 64
        or section_count > 256
    ):
        raise ValueError("unusual program or section headers")
    segments = _segments(data, segment_at, segment_count)
    description = _section(data, section_at, section_count, names_index, b".sprue")
    flash = sum(len(s.data) for s in segments)
    ram = sum(s.bytes for s in segments if s.address != s.load or not s.data)
    return _describe(description, segments, machine, flash, ram)


def _segments(data: bytes, at: int, count: int) -> tuple[Segment, ...]:
    found = []
    total = 0
    for index in range(count):
        kind, offset, address, load, size, memory, _, _ = SEGMENT.unpack_from(data, at + index * SEGMENT.size)
        if kind != 1 or memory == 0:  # PT_LOAD
            continue
        total += memory
        if size > memory or total > MAX_MEMORY or max(address, load) + memory > 2**32:
            raise ValueError("a segment has impossible sizes")
        found.append(Segment(address, load, _slice(data, offset, size), memory))
    if not found:
        raise ValueError("nothing to load")
    return tuple(found)


def _section(data: bytes, at: int, count: int, names_index: int, wanted: bytes) -> bytes:
    headers = [SECTION.unpack_from(data, at + i * SECTION.size) for i in range(count)]
    if names_index >= len(headers):
        raise ValueError("no section names")
    names = _slice(data, headers[names_index][4], headers[names_index][5])
    for header in headers:
        end = names.find(b"\0", header[0]) if header[0] < len(names) else -1
        if end >= 0 and names[header[0] : end] == wanted and header[1] != 8:  # SHT_NOBITS has no bytes
            return _slice(data, header[4], header[5])
    raise ValueError("no description of inputs and outputs")


def _slice(data: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(data):
        raise ValueError("truncated")
    return data[offset : offset + size]


def _describe(
    description: bytes, segments: tuple[Segment, ...], machine: int, flash: int, ram: int
) -> Firmware:
    magic, inputs, outputs, arena, name_bytes, *places = DESCRIPTION.unpack_from(description)
    if magic != b"sprue-2\0":
        raise ValueError("a description of another version")
    if not 0 < inputs + outputs <= MAX_PORTS or name_bytes > 4096:
        raise ValueError("an impossible number of inputs and outputs")
    ports = []
    step = -(-(PORT.size + name_bytes) // 4) * 4
    for index in range(inputs + outputs):
        ports.append(_port(_slice(description, DESCRIPTION.size + index * step, PORT.size + name_bytes)))
    idle, fault, run, stack_top = places
    if stack_top % 8 or not 0 < stack_top <= 0xE0000000:
        raise ValueError("the stack at an impossible address")
    return Firmware(
        segments, tuple(ports[:inputs]), tuple(ports[inputs:]), machine,
        idle, fault, run, stack_top, arena, flash, ram,
    )  # fmt: skip


def _port(data: bytes) -> Port:
    accessor, count, dtype, rank, *shape = PORT.unpack_from(data)
    name = data[PORT.size :].split(b"\0", 1)[0].decode()
    kind = dtype.split(b"\0", 1)[0].decode()
    if kind not in DTYPES or rank > 8:
        raise ValueError("an input or output of unknown type")
    dims = tuple(int(d) for d in shape[:rank])
    size = 1
    for dim in dims:
        size *= dim
    if size != count or size * 8 > MAX_MEMORY:
        raise ValueError("an input or output of impossible size")
    return Port(name, accessor, np.dtype(kind), dims)
