"""How operators were written in older operator sets: what is an input now was an attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUTS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "Squeeze": (13, ("axes",)),
    "Unsqueeze": (13, ("axes",)),
    "ReduceSum": (13, ("axes",)),
    "Split": (13, ("split",)),
    "Clip": (11, ("min", "max")),
    "Pad": (11, ("pads", "value")),
    "Slice": (10, ("starts", "ends", "axes")),
    "TopK": (10, ("k",)),
}
"""Operator -> the operator set in which its attributes became the inputs behind the first."""
NEGATIVE = 11
"""The operator set from which on axes count from the end, too."""
SINGLE = frozenset({"min", "max", "value", "k"})


def as_it_was(
    op: str,
    inputs: Sequence[str],
    attributes: Mapping[str, Any],
    opset: int,
    constants: Mapping[str, NDArray[Any]],
) -> tuple[list[str], dict[str, Any]] | None:
    """Inputs and attributes of that operator set; None where it cannot say that."""
    since, names = INPUTS.get(op, (0, ()))
    if opset >= since:
        return list(inputs), dict(attributes)
    given = dict(attributes)
    for name, held in zip(names, inputs[1:], strict=False):
        if held and held not in constants:
            return None
        if held:
            values = constants[held].tolist()
            given[name] = np.ravel(values)[0].item() if name in SINGLE else list(np.ravel(values).tolist())
    if any((constants[i] != 1).any() for i in inputs[1 + len(names) :]):
        return None  # the steps of Slice
    if opset < NEGATIVE and min(given.get("axes", [0]), default=0) < 0:
        return None
    return [inputs[0]], given
