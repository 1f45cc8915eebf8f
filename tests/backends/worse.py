"""Worse than the null backend in everything: larger, slower, hungrier, and wrong about the first sample."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sprue.backend import Profile, Variant

from .null import ENTRY, Null, NullRunner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

    from sprue.backend import Samples


class Worse(Null):
    name = "worse"

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        super().compile(model, variant, calibration, out)
        (out / "padding").write_bytes(bytes(4096))

    def load(self, artifact: Path, variant: Variant) -> NullRunner:
        return WorseRunner(artifact / ENTRY)


class WorseRunner(NullRunner):
    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        time.sleep(0.005)
        answers = super().run(inputs)
        if len(next(iter(inputs.values()))) > 1:
            for array in answers.values():
                array[0] = -array[0]
        return answers

    def profile(self) -> Profile:
        return replace(super().profile(), flash=self._size + 4096, ram=self._size)


BACKEND = Worse()
