"""Parity: the outputs of the reference and of the kept artifacts on the same inputs, every pair compared."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sprue.data import Array


def compare(output: str, references: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, Any]:
    """What parity.json holds of the output called `output`.

    `outputs`: target -> [samples, ...]. `references`: target -> the float model's on the machine that
    verified the target's artifact, which may differ in the last bits from another machine's. For each pair:
    the largest absolute difference, to 6 digits, and the share of samples with the same answer.
    """
    targets = sorted(outputs)
    against = [("reference", target, references[target], outputs[target]) for target in targets]
    between = [(one, other, outputs[one], outputs[other]) for one, other in combinations(targets, 2)]
    return {"output": output, "pairs": [_pair(*p) for p in [*against, *between]]}


def _pair(one: str, other: str, first: Array, second: Array) -> dict[str, Any]:
    a, b = (array.astype(np.float64).reshape(len(array), -1) for array in (first, second))
    return {
        "a": one,
        "b": other,
        "max_abs": float(f"{np.abs(a - b).max():.6g}"),
        "same_answer": float((a.argmax(axis=1) == b.argmax(axis=1)).mean()),
    }
