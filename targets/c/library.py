"""The shared library for a host: the sources alone, compiled by zig for the target's processor.

It exports the functions of model.h, depends on no other library, not even libc, and so loads on any Linux of
its architecture, whatever its C library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprue.canonical import file_digest

from . import emit, toolchain
from .devices.elf import DTYPES, MAX_MEMORY
from .devices.shared_object import SharedObject, read_shared_object
from .emit import Source
from .machine import Machine
from .project import PREFIX

LIBRARY = f"lib{PREFIX}.so"


def write_library(out: Path, machine: Machine) -> SharedObject:
    """Of the sources in `out`/src. Raises SprueError for a library that is not what it must be."""
    toolchain.build_library(out, [f"src/{PREFIX}.c"], machine, ("src",), LIBRARY)
    return read_shared_object(out / LIBRARY)


@dataclass(frozen=True)
class Port:
    """An input or output: `function` returns where it lies."""

    name: str
    function: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Interface:
    """How a loader calls the library; the report holds it as JSON. `sha256`: of the library."""

    run: str
    sha256: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def interface(source: Source, library: Path) -> Interface:
    def described(kind: str, ports: Sequence[emit.Port]) -> tuple[Port, ...]:
        return tuple(
            Port(p.name, f"{PREFIX}_{kind}_{p.symbol}", p.value.dtype.name, p.value.shape) for p in ports
        )

    digest = file_digest(library)
    return Interface(
        f"{PREFIX}_run", digest, described("input", source.inputs), described("output", source.outputs)
    )


def read_interface(data: Mapping[str, Any]) -> Interface:
    """Of a report, which is untrusted. Raises ValueError, KeyError or TypeError."""

    def port(fields: Mapping[str, Any]) -> Port:
        shape = tuple(int(n) for n in fields["shape"])
        if fields["dtype"] not in DTYPES or not all(0 <= n <= MAX_MEMORY for n in shape):
            raise ValueError("an input or output of impossible type or shape")
        if math.prod(shape) * 8 > MAX_MEMORY:
            raise ValueError("an input or output of impossible size")
        return Port(str(fields["name"]), str(fields["function"]), str(fields["dtype"]), shape)

    inputs, outputs = (tuple(port(p) for p in data[group]) for group in ("inputs", "outputs"))
    return Interface(str(data["run"]), str(data["sha256"]), inputs, outputs)
