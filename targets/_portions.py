"""Feeding any number of samples to a runtime that takes a given number at a time.

Shared by the CPU backends; a name that starts with "_" is no backend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sprue.errors import SprueError
from sprue.graph import TensorSpec

Arrays = Mapping[str, NDArray[np.generic]]

FREE = 64
"""Samples at a time where the batch axis is free: enough to be fast, few enough to bound the memory."""


def run_in_portions(
    specs: Sequence[TensorSpec], inputs: Arrays, size: int, run: Callable[[Arrays], Arrays], *, fixed: bool
) -> dict[str, NDArray[np.generic]]:
    """`run` over `size` samples at a time, joined on axis 0.

    With `fixed` the last portion is filled up by repeating its last sample, and cut afterwards. No samples at
    all run one of zeros, for the shapes. Raises SprueError when an input is missing, unknown, or has another
    dtype or shape than its spec.
    """
    count = _check(specs, inputs)
    if count == size or (0 < count < size and not fixed):  # the usual case, and the one that is timed
        return dict(run({s.name: np.ascontiguousarray(inputs[s.name]) for s in specs}))
    parts: list[Arrays] = []
    for start in range(0, max(count, 1), size):
        portion = {s.name: inputs[s.name][start : start + size] for s in specs}
        have = max(0, min(size, count - start))
        want = size if fixed else max(have, 1)
        if have < want:
            portion = {k: _fill(v, want) for k, v in portion.items()}
        made = run({k: np.ascontiguousarray(v) for k, v in portion.items()})
        parts.append({k: v[:have] for k, v in made.items()})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _fill(array: NDArray[np.generic], want: int) -> NDArray[np.generic]:
    if len(array) == 0:
        return np.zeros((want, *array.shape[1:]), array.dtype)
    return np.concatenate([array, np.repeat(array[-1:], want - len(array), axis=0)])


def _check(specs: Sequence[TensorSpec], inputs: Arrays) -> int:
    names = [s.name for s in specs]
    if set(inputs) != set(names):
        raise SprueError(
            f"the artifact takes the inputs {', '.join(names)}; it was given {', '.join(inputs) or 'none'}",
            remedy="give one array per input, under the model's own names",
        )
    for spec in specs:
        array = inputs[spec.name]
        fits = array.ndim == len(spec.shape) and all(
            w in (None, h) for w, h in zip(spec.shape[1:], array.shape[1:], strict=True)
        )
        if array.dtype != spec.dtype or not fits:
            raise SprueError(
                f"the input '{spec.name}' is {array.dtype}{list(array.shape)}, the artifact takes {spec}",
                remedy="give [samples, ...] in the dtype and shape of the model's input",
            )
    counts = {len(inputs[n]) for n in names}
    if len(counts) > 1:
        raise SprueError(f"the inputs hold different numbers of samples: {sorted(counts)}")
    return counts.pop() if counts else 1
