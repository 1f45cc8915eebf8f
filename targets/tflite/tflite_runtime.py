"""Running a .tflite file with tflite-runtime, in an environment of its own.

tflite-runtime 2.14 is what many devices still carry. It needs NumPy below 2, so it cannot share sprue's
environment: `SPRUE_TFLITE_RUNTIME_PYTHON` names a Python that has both, made by

    python3.11 -m venv tflite && tflite/bin/pip install tflite-runtime "numpy<2"

A target asks for it with `features = ["tflite-runtime"]` in its TOML file. That feature also decides how
int8 is made: this runtime has no kernels for FULLY_CONNECTED and EMBEDDING_LOOKUP weights with one scale a
row, and runs them as if there were one. So for such a target the matrices get one scale each (TENSORWISE);
all others get one a row, which is more accurate, under operator versions that make tflite-runtime refuse the
file instead of giving wrong numbers.

The samples travel as .npz files through a temporary folder, to `tflite_runtime_main.py`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from sprue.backend import Operator, Profile
from sprue.errors import SprueError

from .._portions import run_in_portions
from .run import Arrays, batch_of

if TYPE_CHECKING:
    from sprue.backend import Samples

    from .artifact import Contents

FEATURE = "tflite-runtime"
VARIABLE = "SPRUE_TFLITE_RUNTIME_PYTHON"
SCRIPT = Path(__file__).with_name("tflite_runtime_main.py")
TIMEOUT = 600
INSTALL = f'make a venv with tflite-runtime and "numpy<2" and set {VARIABLE} to its python'


def python() -> str | None:
    """The Python that has tflite-runtime; None when nobody named one."""
    return os.environ.get(VARIABLE) or None


class TfliteRuntimeRunner:
    """Each `run` is one process. The interpreter handles one batch at a time inside it."""

    execution: Literal["native", "emulated", "stand-in"] = "native"

    def __init__(self, data: bytes, held: Contents, threads: int, where: str) -> None:
        """Raises SprueError when there is no such Python, or when tflite-runtime refuses the file."""
        self._data, self._held, self._threads, self._where = data, held, threads, where
        self._version, self._arch = self._execute([])[1]

    def run(self, inputs: Samples) -> Arrays:
        size = batch_of(self._held.inputs)
        if all(s.name in inputs and inputs[s.name].shape == s.shape for s in self._held.inputs):
            return self._execute([dict(inputs)])[0][0]
        portions: list[Arrays] = []
        run_in_portions(self._held.inputs, inputs, size, lambda p: self._remember(portions, p), fixed=True)
        made = iter(self._execute(portions)[0])
        return run_in_portions(self._held.inputs, inputs, size, lambda _: next(made), fixed=True)

    def profile(self) -> Profile:
        notes = {
            "runtime": f"tflite-runtime {self._version}",
            "arch": self._arch,
            "executed": "the artifact itself, by tflite-runtime in a process of its own",
        }
        return Profile(flash=len(self._data), notes=notes)

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """(): tflite-runtime's Python API has no profiler."""
        return ()

    def _remember(self, portions: list[Arrays], portion: Samples) -> Arrays:
        """Take note of a portion, and give zeros of the outputs' shapes in its place."""
        portions.append(dict(portion))
        return {s.name: np.zeros([d or 1 for d in s.shape], s.dtype) for s in self._held.outputs}

    def _execute(self, portions: list[Arrays]) -> tuple[list[Arrays], tuple[str, str]]:
        """Run all portions in one process -> their outputs, and (version, machine) of the runtime."""
        interpreter = python()
        if interpreter is None:
            raise SprueError("there is no Python with tflite-runtime", remedy=INSTALL)
        with tempfile.TemporaryDirectory(prefix="sprue-tflite-") as folder:
            place = Path(folder)
            (place / "model.tflite").write_bytes(self._data)
            for i, portion in enumerate(portions):
                arrays = {f"in{k}": portion[s.name] for k, s in enumerate(self._held.inputs)}
                np.savez(place / f"{i}.npz", allow_pickle=False, **arrays)
            names = [s.name for s in (*self._held.inputs, *self._held.outputs)]
            numbers = [str(len(portions)), str(self._threads), str(len(self._held.inputs))]
            try:
                done = subprocess.run(
                    [interpreter, "-I", str(SCRIPT), folder, *numbers, *names],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=TIMEOUT,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise SprueError(
                    f"tflite-runtime did not run: {error}", where=interpreter, remedy=INSTALL
                ) from error
            if done.returncode:
                said = [
                    line for line in done.stderr.splitlines() if line.strip() and not line.startswith("INFO")
                ]
                raise SprueError(
                    f"tflite-runtime refuses it: {said[-1] if said else f'exit code {done.returncode}'}",
                    where=self._where,
                    remedy=f'build for a target with features = ["{FEATURE}"]',
                )
            version, arch = done.stdout.split()[-2:]
            return [self._read(place / f"{i}.out.npz") for i in range(len(portions))], (version, arch)

    def _read(self, path: Path) -> Arrays:
        with np.load(path, allow_pickle=False) as archive:
            return {s.name: archive[f"out{k}"] for k, s in enumerate(self._held.outputs)}
