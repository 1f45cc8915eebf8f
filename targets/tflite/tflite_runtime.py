"""Running a .tflite file with tflite-runtime, in an environment of its own.

tflite-runtime 2.14 is what many devices still carry. It needs NumPy below 2, so it cannot share sprue's
environment: `SPRUE_TFLITE_RUNTIME_PYTHON` names a Python that has both, made by

    python3.11 -m venv tflite && tflite/bin/pip install tflite-runtime "numpy<2"

A target asks for it with `features = ["tflite-runtime"]` in its TOML file. That feature also decides how
int8 is made: this runtime has no kernels for FULLY_CONNECTED and EMBEDDING_LOOKUP weights with one scale a
row, and runs them as if there were one. So for such a target the matrices get one scale each (TENSORWISE);
all others get one a row, which is more accurate, under operator versions that make tflite-runtime refuse the
file instead of giving wrong numbers.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import numpy as np

from sprue.backend import Operator, Profile
from sprue.errors import SprueError

from .._portions import run_in_portions
from . import emulated
from .elsewhere import Done, Place, execute
from .run import Arrays, batch_of

if TYPE_CHECKING:
    from sprue.backend import Samples
    from sprue.target import Precision

    from .artifact import Contents

FEATURE = "tflite-runtime"
VARIABLE = "SPRUE_TFLITE_RUNTIME_PYTHON"
INSTALL = f'make a venv with tflite-runtime and "numpy<2" and set {VARIABLE} to its python'


def python() -> str | None:
    """The Python that has tflite-runtime; None when nobody named one."""
    return os.environ.get(VARIABLE) or None


class TfliteRuntimeRunner:
    """Each `run` is one process. The interpreter handles one batch at a time inside it."""

    execution: Literal["native", "emulated", "stand-in"] = "native"

    def __init__(
        self, data: bytes, held: Contents, threads: int, where: str, *, phone: Precision | None = None
    ) -> None:
        """`phone` as in `LiteRtRunner`.

        Raises SprueError when there is no such Python, or when tflite-runtime refuses the file.
        """
        self._data, self._held, self._threads, self._where = data, held, threads, where
        self._phone, self._first = phone, list[tuple[Arrays, Arrays]]()
        self._loaded = self._execute([])

    def run(self, inputs: Samples) -> Arrays:
        size = batch_of(self._held.inputs)
        if all(s.name in inputs and inputs[s.name].shape == s.shape for s in self._held.inputs):
            return self._execute([dict(inputs)]).outputs[0]
        portions: list[Arrays] = []
        run_in_portions(self._held.inputs, inputs, size, lambda p: self._remember(portions, p), fixed=True)
        made = iter(self._execute(portions).outputs)
        return run_in_portions(self._held.inputs, inputs, size, lambda _: next(made), fixed=True)

    def profile(self) -> Profile:
        notes = {
            "runtime": f"{self._loaded.runtime} {self._loaded.version}",
            "arch": self._loaded.arch,
            "executed": "the artifact itself, by tflite-runtime in a process of its own",
        }
        notes |= emulated.note(self._data, self._held, self._phone, self._first, self._where)
        return Profile(flash=len(self._data), notes=notes)

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """(): tflite-runtime's Python API has no profiler."""
        return ()

    def _remember(self, portions: list[Arrays], portion: Samples) -> Arrays:
        """Take note of a portion, and give zeros of the outputs' shapes in its place."""
        portions.append(dict(portion))
        return {s.name: np.zeros([d or 1 for d in s.shape], s.dtype) for s in self._held.outputs}

    def _execute(self, portions: list[Arrays]) -> Done:
        interpreter = python()
        if interpreter is None:
            raise SprueError("there is no Python with tflite-runtime", remedy=INSTALL)
        refused = f'build for a target with features = ["{FEATURE}"]'
        place = Place([interpreter], "tflite-runtime", INSTALL, refused)
        done = execute(place, self._data, self._held, self._threads, portions, self._where)
        self._first = self._first or [*zip(portions, done.outputs, strict=True)][: emulated.SAMPLES]
        return done
