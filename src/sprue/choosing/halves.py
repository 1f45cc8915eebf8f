"""Which weights of an int8-weights variant to store in half precision: predicted, then built and judged.

Rounding weights to 8 bits moves the outputs so little that the parts add up: what all of them do together is
the sum of what each does alone (on a chatbot's encoder to 1 % of it). So the network runs once for each
weight, and which answers any set of them would change is arithmetic. Proposed are the smallest sets with
which the metric is predicted to hold. A prediction decides only what is tried: each is a variant like any
other, with a verdict on its own file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from sprue import reference
from sprue.errors import SprueError
from sprue.graph import normalise, serialise
from sprue.judging.acceptance import ULP
from sprue.judging.metric import Metric
from sprue.passes.quantize_weights import quantized, stored_weights, widened

if TYPE_CHECKING:
    from sprue.backend import Samples

Array = NDArray[np.generic]
Float = NDArray[np.float32]
Outputs = Mapping[str, Array]
Moved = Mapping[str, Float]

LOOKED_AT = 16
"""Weights that may go to half precision, those that 8 bits change most: the network runs once for each."""
MOST = 4
"""Weights in one set, and sets that are proposed: one for each number of weights."""
SETS = 1000
"""Sets of one number whose metric is predicted, the smallest first."""
HELD = 2**28
"""Bytes of outputs that are held at once; where they would be more nothing is proposed."""
SMALLEST = 1e-30
"""Of a weight's energy: one that is all zeros is not infinitely noisy."""


@dataclass(frozen=True, eq=False)
class Rounding:
    """A weight before and after rounding, and how many bytes half precision adds."""

    name: str
    exact: Float
    rounded: Float

    @property
    def size(self) -> int:
        return self.exact.size

    @property
    def noise(self) -> float:
        """What rounding adds, as a share of the energy; dimensionless."""
        energy = float((self.exact.astype(np.float64) ** 2).sum())
        return float(((self.rounded - self.exact).astype(np.float64) ** 2).sum()) / max(energy, SMALLEST)


def propose(
    model: ModelProto, samples: Samples, labels: Array, metric: Metric, max_drop: float
) -> list[tuple[str, ...]]:
    """Sets of names of weights, the smallest in bytes first, one at most for each number of weights.

    `model`: the simplified float model. `samples`, `labels`: [samples, ...], those that variants are chosen
    on. Raises SprueError when the model does not run.
    """
    roundings = _roundings(model)
    looked_at = sorted(roundings, key=lambda r: (-r.noise, r.name))[:LOOKED_AT]
    exact = reference.outputs(serialise(model), samples)
    if next(iter(exact.values())).dtype.kind != "f":
        return []  # classes, not scores: they do not add up
    if (len(looked_at) + 2) * sum(a.nbytes for a in exact.values()) > HELD:
        return []
    all_rounded = reference.outputs(serialise(_with(model, roundings)), samples)
    moved = {r: _moved(reference.outputs(serialise(_with(model, [r])), samples), exact) for r in looked_at}
    least = metric.compute(exact, labels)
    found = []
    for count in range(1, min(MOST, len(roundings) - 1) + 1):
        for held in islice(sorted(combinations(looked_at, count), key=_bytes), SETS):
            predicted = _without(all_rounded, [moved[r] for r in held])
            if _drop(metric, least, predicted, labels) <= max_drop + ULP:
                found.append(held)
                break
    return [tuple(r.name for r in held) for held in sorted(found, key=_bytes)]


def _roundings(model: ModelProto) -> list[Rounding]:
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = stored_weights(model).items()
    return [Rounding(name, arrays[name], widened(*quantized(arrays[name], axes))) for name, axes in found]


def _with(model: ModelProto, roundings: Sequence[Rounding]) -> ModelProto:
    """The float model with these weights as they are after rounding."""
    made = normalise(model)
    arrays = {r.name: r.rounded for r in roundings}
    for tensor in made.graph.initializer:
        if tensor.name in arrays:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    return made


def _moved(after: Outputs, before: Outputs) -> Moved:
    """What an output moved by, for those that hold floats."""
    floats = [n for n, a in before.items() if a.dtype.kind == "f"]
    return {n: np.asarray(after[n], np.float32) - np.asarray(before[n], np.float32) for n in floats}


def _without(outputs: Outputs, moved: Sequence[Moved]) -> dict[str, Array]:
    """The outputs, had the weights that moved them so not been rounded."""
    made = dict(outputs)
    for name in moved[0]:
        made[name] = np.subtract(outputs[name], sum(each[name] for each in moved))
    return made


def _bytes(held: Sequence[Rounding]) -> int:
    return sum(r.size for r in held)


def _drop(metric: Metric, reference: float, outputs: Outputs, labels: Array) -> float:
    try:
        return metric.drop(reference, metric.compute(outputs, labels))
    except SprueError:  # a metric of the user's own may be undefined for outputs that were predicted
        return inf
