"""Running a .tflite file with ai-edge-litert on this machine."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sprue.backend import Operator, Profile
from sprue.errors import SprueError
from sprue.passes.quiet import quiet

from .._portions import run_in_portions
from . import emulated

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

    from sprue.backend import Samples
    from sprue.graph import TensorSpec
    from sprue.target import Precision

    from .artifact import Contents

Arrays = dict[str, NDArray[np.generic]]


def interpreter(data: bytes, threads: int, where: str) -> Interpreter:
    """An interpreter with its tensors allocated. Raises SprueError with LiteRT's own words."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet():
            made = Interpreter(model_content=data, num_threads=threads)
            made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise SprueError(
            f"LiteRT does not load it: {str(error).strip().splitlines()[0]}",
            where=where,
            remedy="build the artifact again with this version of ai-edge-litert",
        ) from error
    return made


class LiteRtRunner:
    """The very file, executed here. `native`: the file is the same on every architecture."""

    execution: Literal["native", "emulated", "stand-in"] = "native"

    def __init__(
        self, data: bytes, held: Contents, threads: int, where: str, *, phone: Precision | None = None
    ) -> None:
        """`phone`: the precision of a file for an aarch64 target; its first samples are run there, too."""
        self._data, self._held, self._threads, self._where = data, held, threads, where
        self._inputs, self._phone = held.inputs, phone
        self._first: list[tuple[Arrays, Arrays]] = []
        self._interpreter = interpreter(data, threads, where)
        self._places = {d["name"]: d["index"] for d in self._interpreter.get_input_details()}
        self._outputs = {d["name"]: d["index"] for d in self._interpreter.get_output_details()}

    def run(self, inputs: Samples) -> Arrays:
        """[samples, ...] in and out; an artifact for fewer samples is run as often as it takes."""
        if all(s.name in inputs and inputs[s.name].shape == s.shape for s in self._inputs):
            return dict(self._once(inputs))
        return run_in_portions(self._inputs, inputs, batch_of(self._inputs), self._once, fixed=True)

    def profile(self) -> Profile:
        """The file's size; LiteRT's Python API does not tell the size of the arena.

        Raises CheckError when emulated aarch64 gives other answers to the first samples that were run.
        """
        notes = {
            "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
            "arch": platform.machine(),
            "executed": "the artifact itself, by LiteRT on this machine's architecture, not on the target's",
        }
        notes |= emulated.note(self._data, self._held, self._phone, self._first, self._where)
        return Profile(flash=len(self._data), notes=notes)

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        """Each operation run alone, see `operators.py`."""
        from .operators import operators

        return operators(self._data, self._threads, sample)

    def _once(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        try:
            for name, place in self._places.items():
                self._interpreter.set_tensor(place, _plain(inputs[name]))
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise SprueError(
                f"LiteRT failed while running: {str(error).strip().splitlines()[0]}",
                remedy="check the inputs' values: an index outside its table, for example",
            ) from error
        made = {name: self._interpreter.get_tensor(place) for name, place in self._outputs.items()}
        if self._phone is not None and len(self._first) < emulated.SAMPLES:
            self._first.append(({n: np.array(inputs[n]) for n in self._places}, made))
        return made


def _plain(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Contiguous, and int64 where it is numpy's longlong: the same, but LiteRT has no name for it."""
    made = np.ascontiguousarray(array).view(np.dtype(array.dtype.name))
    return made.reshape(array.shape)


def batch_of(inputs: tuple[TensorSpec, ...]) -> int:
    """The number of samples that the artifact takes at a time."""
    sizes = [s.shape[0] for s in inputs if s.shape and s.shape[0] is not None]
    return sizes[0] if sizes else 1
