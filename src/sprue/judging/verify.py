"""Verification: the saved artifact's outputs and metric against the float reference's.

Each element of each output is held against its allowance, see `tolerance.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sprue.errors import CheckError
from sprue.judging.tolerance import Tolerance

Array = NDArray[np.generic]


MOST = 1e12
"""What `used` is where nothing is allowed and something differs: JSON has no infinity."""


@dataclass(frozen=True)
class Agreement:
    """How one output compares. `used`: the largest share that an element takes of its allowance, 1 being all.

    `same_answer` is the share of samples with the same largest element, None where there is only one.
    """

    used: float
    max_abs: float
    sample: int
    actual: float
    reference: float
    same_answer: float | None

    def to_json(self) -> dict[str, Any]:
        return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in asdict(self).items()}


def compare(
    actual: Mapping[str, Array], reference: Mapping[str, Array], tolerance: Tolerance
) -> dict[str, Agreement]:
    """Each output's agreement. Raises CheckError when names, shapes or dtypes differ, or for NaN."""
    if set(actual) != set(reference):
        raise CheckError(f"the artifact's outputs are {sorted(actual)}, the model's are {sorted(reference)}")
    return {name: _compare(name, actual[name], reference[name], tolerance) for name in reference}


def _compare(name: str, actual: Array, reference: Array, tolerance: Tolerance) -> Agreement:
    if actual.shape != reference.shape or actual.dtype != reference.dtype:
        raise CheckError(
            f"output '{name}' is {actual.dtype}{list(actual.shape)}, "
            f"the model's is {reference.dtype}{list(reference.shape)}"
        )
    a, r = actual.astype(np.float64), reference.astype(np.float64)
    if not np.isfinite(a).all():
        bad = int(np.flatnonzero(~np.isfinite(a.reshape(len(a), -1)).all(axis=1))[0])
        raise CheckError(f"output '{name}' is NaN or infinite for evaluation sample {bad}")
    step = float(r.max() - r.min()) / 255
    allowed = tolerance.atol + tolerance.rtol * np.abs(r) + tolerance.steps * step
    error = np.abs(a - r)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        used = np.where(error == 0, 0.0, np.minimum(error / allowed, MOST))
    worst = np.unravel_index(int(used.argmax()), used.shape)
    flat_a, flat_r = a.reshape(len(a), -1), r.reshape(len(r), -1)
    many = flat_r.shape[1] > 1
    return Agreement(
        used=float(used[worst]),
        max_abs=float(error.max()),
        sample=int(worst[0]),
        actual=float(a[worst]),
        reference=float(r[worst]),
        same_answer=float((flat_a.argmax(axis=1) == flat_r.argmax(axis=1)).mean()) if many else None,
    )
