"""zig as a C cross compiler: sources in a folder -> a firmware or a shared library beside them.

zig comes from PyPI (`ziglang`), brings clang and lld for every processor, and needs nothing of the system.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sprue.errors import SprueError

from .machine import Machine

TIMEOUT = 300
"""Seconds. The longest step is zig's first build of its runtime library for a processor."""

FLAGS = (
    "-std=c99", "-g0", "-ffreestanding", "-fno-sanitize=all", "-fno-strict-aliasing",
    "-ffp-contract=off", "-fno-math-errno", "-fomit-frame-pointer", "-ffunction-sections", "-fdata-sections",
)  # fmt: skip
"""`-ffp-contract=off`: what is fused is written as such (runtime/fma.c), so all compilers agree."""
LIBRARY = ("-O3", "-fPIC", "-shared", "-Wl,-z,defs", "-Wl,-soname,libmodel.so")
"""`-z defs`: it must need nothing of any other library."""


def available() -> bool:
    return importlib.util.find_spec("ziglang") is not None


def build_firmware(
    folder: Path,
    sources: Sequence[str],
    machine: Machine,
    include: Sequence[str],
    linker_script: str,
    elf: str,
) -> None:
    """Compile and link with paths relative to `folder`, so that the result does not depend on where it is.

    Raises SprueError with the compiler's first error.
    """
    script = [f"-Wl,-T,{linker_script}", "-Wl,-e,sprue_reset"]
    _build(folder, sources, machine, include, ["-O2", *script], elf)


def build_library(
    folder: Path, sources: Sequence[str], machine: Machine, include: Sequence[str], library: str
) -> None:
    """A shared library for a host, vectorised; as `build_firmware` otherwise."""
    _build(folder, sources, machine, include, LIBRARY, library)


def _build(
    folder: Path,
    sources: Sequence[str],
    machine: Machine,
    include: Sequence[str],
    how: Sequence[str],
    made: str,
) -> None:
    command = [
        str(_zig()), "cc", "-target", machine.triple, *machine.zig, *FLAGS,
        *(f"-I{path}" for path in include), *how,
        "-nostdlib", "-Wl,--gc-sections", "-Wl,-s", "-o", made, *sources,
    ]  # fmt: skip
    done = _run(command, folder)
    if done.returncode and "undefined symbol: " in done.stderr:
        # 64-bit division, double precision and memcpy call the compiler's runtime library
        done = _run([*command, "-rtlib=compiler-rt"], folder)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise SprueError(
            f"zig could not build {made}: {(lines or ['no message'])[0]}",
            where=str(folder),
            remedy="this is a bug of sprue, unless zig itself fails: try `python -m ziglang version`",
        )


def _zig() -> Path:
    """The program that `python -m ziglang` would start, without starting Python first."""
    package = importlib.util.find_spec("ziglang")
    if package is None or not package.submodule_search_locations:
        raise SprueError("ziglang is not installed", remedy="pip install 'sprue[embedded]'")
    return Path(package.submodule_search_locations[0]) / ("zig.exe" if sys.platform == "win32" else "zig")


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise SprueError(f"zig did not finish within {TIMEOUT} s", where=str(folder)) from error
    except OSError as error:
        raise SprueError(
            f"zig could not be started ({error})", remedy="pip install 'sprue[embedded]'"
        ) from error
