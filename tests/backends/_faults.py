"""A null backend with a fault: float32 meets it while compiling, float16 while running, int8 not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sprue.backend import Variant

from .null import Null, NullRunner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

    from sprue.backend import Samples


class Faulty(Null):
    """`fault` is called where the fault is to happen; nothing else does, if it returns."""

    def __init__(self, name: str, fault: Callable[[], object]) -> None:
        self.name = name
        self._fault = fault

    def compile(self, model: ModelProto, variant: Variant, calibration: Samples, out: Path) -> None:
        if variant.precision == "float32":
            self._fault()
        else:
            super().compile(model, variant, calibration, out)

    def load(self, artifact: Path, variant: Variant) -> NullRunner:
        runner = super().load(artifact, variant)
        return (
            FaultyRunner(artifact / self.entry(variant), self._fault)
            if variant.precision == "float16"
            else runner
        )


class FaultyRunner(NullRunner):
    def __init__(self, path: Path, fault: Callable[[], object]) -> None:
        super().__init__(path)
        self._fault = fault

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        self._fault()
        return {}
