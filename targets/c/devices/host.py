"""A host's shared library, loaded: natively where this machine is of the target's kind; 64-bit Arm elsewhere
in unicorn. Where neither can, the artifact's sources, compiled for this machine, stand in.
"""

from __future__ import annotations

import _ctypes
import ctypes
import platform
import shutil
import tempfile
import weakref
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sprue.backend import Operator, Profile
from sprue.border import Border
from sprue.canonical import file_digest
from sprue.errors import SprueError
from sprue.target import Target

from .. import deployed
from ..artifact import Reported, read_report
from ..library import LIBRARY, Interface, Port, write_library
from ..machine import CORES, machine
from . import elf, unicorn_core
from .device import Device, Execution, fitting
from .emulator import Emulator
from .shared_object import SharedObject, read_shared_object

if TYPE_CHECKING:
    from sprue.backend import Samples

BASE, STACK_TOP, IDLE = 0x10000000, 0x60000000, 0x70000000
"""Where the emulator has the library, the stack, and the end of each call."""


def load(artifact: Path, target: Target, *, native: bool) -> HostLibrary | Device:
    """`native`: this machine is of the target's kind. Raises SprueError for a damaged artifact."""
    processor = machine(target)
    shared, reported = read_shared_object(artifact / LIBRARY), read_report(artifact)
    if shared.machine != processor.isa.elf:
        raise SprueError("the library is for another processor", remedy="build it for this target")
    interface = _checked(artifact / LIBRARY, reported.interface, shared)
    if native:
        return HostLibrary(
            artifact / LIBRARY, interface, _profile(shared, reported), "native", reported.border
        )
    if processor.unicorn is not None and unicorn_core.available():
        firmware = _firmware(shared, reported, interface)
        core = unicorn_core.UnicornCore(firmware, processor)
        return Device(firmware, Emulator(firmware, core), reported, "unicorn")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(artifact / "src", Path(folder) / "src")
        write_library(Path(folder), machine(_here(target)))
        copy = Path(folder) / LIBRARY
        return HostLibrary(copy, interface, _profile(shared, reported), "stand-in", reported.border)


def profile(artifact: Path) -> Profile:
    """flash: bytes of the library, which is all that is deployed. ram: its static data with the arena."""
    return _profile(read_shared_object(artifact / LIBRARY), read_report(artifact))


def _profile(shared: SharedObject, reported: Reported) -> Profile:
    notes = {
        "arena": f"{reported.arena} bytes (no plan needs less than {reported.bound})",
        "ram": "static data with the arena, without the stack",
    }
    return Profile(shared.file, shared.ram, notes=notes)


class HostLibrary:
    """A library in this process, one sample at a time. `border` as `Device` has it."""

    def __init__(
        self, path: Path, interface: Interface, profile: Profile, execution: Execution,
        border: Border | None = None,
    ) -> None:  # fmt: skip
        """`profile`: of the artifact, for which the library at `path` may only stand in."""
        self.execution = execution
        self.border = border
        self._profile = profile
        self._inputs = [_port(p, 0) for p in interface.inputs]
        try:
            opened = ctypes.CDLL(str(path))
        except OSError as error:
            raise SprueError(f"the library cannot be loaded ({error})", remedy="build it again") from error
        # Else the next library at this path would be this one.
        weakref.finalize(self, _ctypes.dlclose, opened._handle)
        self._run = deployed.bound(opened, asdict(interface))

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        """[samples, ...] in and out."""
        return self._run({p.name: fitting(p, inputs) for p in self._inputs})

    def profile(self) -> Profile:
        return self._profile

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """The library does not tell what its calls cost."""
        return ()


def _checked(path: Path, interface: Interface | None, shared: SharedObject) -> Interface:
    """The report's description, if it is of this library: a damaged one would take this process with it."""
    if interface is None or interface.sha256 != file_digest(path):
        raise SprueError("the report describes another library", where=str(path), remedy="build it again")
    functions = [interface.run, *(p.function for p in (*interface.inputs, *interface.outputs))]
    missing = [name for name in functions if name not in shared.symbols]
    if missing:
        raise SprueError(f"the library has no function '{missing[0]}'", remedy="build it again")
    return interface


def _firmware(shared: SharedObject, reported: Reported, interface: Interface) -> elf.Firmware:
    """The library as the emulator of a microcontroller takes it: mapped at BASE, and nothing to start."""

    def ports(described: tuple[Port, ...]) -> tuple[elf.Port, ...]:
        return tuple(_port(p, BASE + shared.symbols[p.function]) for p in described)

    mapped = [replace(s, address=s.address + BASE, load=s.load + BASE) for s in shared.segments]
    idle = elf.Segment(IDLE, IDLE, bytes(4), 4)
    return elf.Firmware(
        (*mapped, idle), ports(interface.inputs), ports(interface.outputs), shared.machine, IDLE, IDLE,
        BASE + shared.symbols[interface.run], STACK_TOP, reported.arena, shared.file, shared.ram,
    )  # fmt: skip


def _port(port: Port, accessor: int) -> elf.Port:
    return elf.Port(port.name, accessor, np.dtype(port.dtype), port.shape)


def _here(target: Target) -> Target:
    """The target for this machine's processor, with no feature that not all of its kind have."""
    names = {"AMD64": "x86_64", "arm64": "aarch64"}
    arch = names.get(platform.machine(), platform.machine())
    if platform.system() != "Linux" or (arch, "") not in CORES:
        raise SprueError(
            f"neither {target.arch} nor its stand-in runs on {platform.system()} {platform.machine()}",
            remedy="build on Linux, x86-64 or 64-bit Arm",
        )
    return replace(target, arch=arch, features=())
