"""Running a .tflite file by another Python, in a process of its own: another runtime, or another processor.

The samples travel as .npz files through a temporary folder, to `elsewhere_main.py`.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sprue.errors import SprueError

if TYPE_CHECKING:
    from .artifact import Contents
    from .run import Arrays

SCRIPT = Path(__file__).with_name("elsewhere_main.py")
TIMEOUT = 600


@dataclass(frozen=True)
class Place:
    """`python`: the command that runs a Python which has a runtime. `install`: how to get one."""

    python: Sequence[str]
    name: str
    install: str
    refused: str
    """The remedy when the runtime does not take the file."""


@dataclass(frozen=True)
class Done:
    """The outputs of each portion, and who made them: runtime, its version, machine."""

    outputs: list[Arrays]
    runtime: str
    version: str
    arch: str


def execute(
    place: Place, data: bytes, held: Contents, threads: int, portions: Sequence[Arrays], where: str
) -> Done:
    """Run all portions in one process; with none, load the file only.

    Raises SprueError when that Python does not run, or its runtime refuses the file or the samples.
    """
    with tempfile.TemporaryDirectory(prefix="sprue-tflite-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(data)
        for i, portion in enumerate(portions):
            arrays = {f"in{k}": portion[s.name] for k, s in enumerate(held.inputs)}
            np.savez(folder / f"{i}.npz", allow_pickle=False, **arrays)
        names = [s.name for s in (*held.inputs, *held.outputs)]
        numbers = [str(len(portions)), str(threads), str(len(held.inputs))]
        try:
            done = subprocess.run(
                [*place.python, "-I", str(SCRIPT), name, *numbers, *names],
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SprueError(
                f"{place.name} did not run: {error}", where=place.python[0], remedy=place.install
            ) from error
        if done.returncode:
            said = [li for li in done.stderr.splitlines() if li.strip() and not li.startswith("INFO")]
            why = said[-1] if said else f"exit code {done.returncode}"
            raise SprueError(f"{place.name} refuses it: {why}", where=where, remedy=place.refused)
        outputs = [_read(folder / f"{i}.out.npz", held) for i in range(len(portions))]
        runtime, version, arch = done.stdout.split()[-3:]
        return Done(outputs, runtime, version, arch)


def _read(path: Path, held: Contents) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {s.name: archive[f"out{k}"] for k, s in enumerate(held.outputs)}
