"""The image of a microcontroller: start-up, linker script and description around the sources."""

from __future__ import annotations

import shutil
from pathlib import Path

from sprue.target import Target

from . import toolchain
from .devices.elf import Firmware, read_firmware
from .emit import Source, render
from .machine import Machine
from .project import PREFIX, write_text

FIRMWARE = "firmware.elf"
STACK_ROOM = 256 * 1024
"""RAM that the linker script leaves for the stack beside the arena, at least: what does not fit a board is
measured and reported, not hidden behind a linker error."""


def write_firmware(out: Path, source: Source, target: Target, machine: Machine) -> Firmware:
    """Of the sources in `out`/src."""
    device = out / "firmware"
    write_text(device / "main.c", _main(source))
    write_text(device / "boot.c", render(machine.isa.boot, {}))
    write_text(device / "link.ld", _linker_script(source, target, machine))
    build(out, machine)
    return read_firmware(out / FIRMWARE)


def build(artifact: Path, machine: Machine) -> None:
    """Compile the artifact's sources to its firmware."""
    sources = [f"src/{PREFIX}.c", "firmware/main.c", "firmware/boot.c"]
    toolchain.build_firmware(artifact, sources, machine, ("src",), "firmware/link.ld", FIRMWARE)


def rebuilt(artifact: Path, machine: Machine, folder: Path) -> Path:
    """The firmware of an artifact's sources for another core of the same architecture, in `folder`."""
    for name in ("src", "firmware"):
        shutil.copytree(artifact / name, folder / name)
    build(folder, machine)
    return folder / FIRMWARE


def _main(source: Source) -> str:
    ports = [
        {
            "accessor": f"{PREFIX}_{kind}_{port.symbol}",
            "name": port.name, "count": port.value.size, "dtype": port.value.dtype.name,
            "rank": len(port.value.shape), "shape": ", ".join(map(str, port.value.shape)) or "0",
        }
        for kind, group in (("input", source.inputs), ("output", source.outputs))
        for port in group
    ]  # fmt: skip
    name_bytes = max(len(str(p["name"]).encode()) for p in ports) + 1
    params = {
        "prefix": PREFIX, "guard": PREFIX.upper(),
        "inputs": len(source.inputs), "outputs": len(source.outputs),
        "ports": ports, "name_bytes": -(-name_bytes // 4) * 4,
    }  # fmt: skip
    return render("main.c.j2", params)


def _linker_script(source: Source, target: Target, machine: Machine) -> str:
    ram = max(target.limit_ram or 0, source.arena_bytes + STACK_ROOM)
    flash = max(target.limit_flash or 0, source.constants_bytes + 1024 * 1024)
    params = {
        "isa": machine.isa.name,
        "flash_origin": machine.isa.flash_origin, "flash_length": -(-flash // 8) * 8,
        "ram_origin": machine.isa.ram_origin, "ram_length": -(-ram // 8) * 8,
    }  # fmt: skip
    return render("link.ld.j2", params)
