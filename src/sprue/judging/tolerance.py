"""How far an artifact's outputs may lie from the float reference's, by precision.

An element agrees when |a - r| <= atol + rtol * |r| + steps * step, where `step` is one int8 step of that
output, (max r - min r) / 255 over the evaluation data. Never |a - r| / |r|, which is infinite at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from sprue.target import Precision
from sprue.variant import Compression, Variant


@dataclass(frozen=True)
class Tolerance:
    atol: float
    rtol: float
    steps: float

    def replaced(self, overrides: Mapping[str, float | None]) -> Tolerance:
        """With what the recipe overrides; None leaves a value as it is."""
        return Tolerance(**(asdict(self) | {k: v for k, v in overrides.items() if v is not None}))


# Measured on the sample models, worst element of any backend: float32 5e-5 steps, float16 0.24, int8 7.7 if
# calibration covers the evaluation data; outputs beyond the calibrated range are clipped and reach further.
# NNCF's mean ranges reached 24 steps and its mixed preset 122 at a metric drop of 0.018: those must not pass.
TOLERANCES: Mapping[Precision, Tolerance] = {
    "float32": Tolerance(atol=1e-6, rtol=1e-4, steps=0.02),
    "float16": Tolerance(atol=1e-4, rtol=1e-2, steps=1.0),
    "int8-dynamic": Tolerance(atol=1e-3, rtol=1e-2, steps=16.0),
    "int8-static": Tolerance(atol=1e-3, rtol=1e-2, steps=16.0),
    "int8-weights": Tolerance(atol=1e-3, rtol=1e-2, steps=8.0),
}

WHOLE_RANGE = 255.0
"""Steps. A compressed network is another network: its outputs may move within the range of the reference's,
and it is the metric that says whether it still answers right."""


def implied(variant: Variant) -> Tolerance:
    """What is implied where the recipe says nothing else."""
    of = TOLERANCES[variant.precision]
    return replace(of, steps=WHOLE_RANGE) if variant.compression != Compression() else of
