"""The border of an artifact that takes and gives 8-bit integers: `border = "int8"` of a recipe's target.

Its inputs and outputs that the graph would quantize first, or dequantize last, are int8 there; all others are
as the model has them. real = scale * (integer - zero_point), with the artifact's own scales. Whoever runs it
through sprue, or through the loader that ships beside it, goes on with the model's real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sprue import load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sprue.backend import Operator, Profile, Runner, Samples

NOTE = "border"
"""The key of the note in a profile."""
IN_VAIN = 'border = "int8" would change nothing: int8 neither begins at an input nor ends at an output'
REMEDY = "leave `border` out"


@dataclass(frozen=True)
class Edge:
    """One input or output of an artifact. `scale` is None where it is as the model has it."""

    dtype: str
    scale: float | None = None
    zero_point: int = 0

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {"dtype": self.dtype}
        return said if self.scale is None else said | {"scale": self.scale, "zero_point": self.zero_point}

    def __str__(self) -> str:
        return f"{self.dtype}" + (
            "" if self.scale is None else f" (scale {self.scale:.6g}, zero point {self.zero_point})"
        )


@dataclass(frozen=True)
class Border:
    """All inputs and all outputs of an artifact, by name."""

    inputs: Mapping[str, Edge] = field(default_factory=dict)
    outputs: Mapping[str, Edge] = field(default_factory=dict)

    @property
    def int8(self) -> bool:
        """Whether any of them became an integer."""
        return any(e.scale is not None for e in (*self.inputs.values(), *self.outputs.values()))

    def to_json(self) -> dict[str, Any]:
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        return {side: {name: edge.to_json() for name, edge in edges.items()} for side, edges in sides.items()}

    def noted(self, profile: Profile) -> Profile:
        """With a note of what the artifact takes and gives."""
        takes, gives = (
            "; ".join(f"{name}: {edge}" for name, edge in edges.items())
            for edges in (self.inputs, self.outputs)
        )
        return replace(profile, notes={**profile.notes, NOTE: f"takes {takes}; gives {gives}"})


def read_border(data: Any) -> Border:
    """Of a report, which is untrusted. Raises ValueError, KeyError, TypeError or AttributeError."""

    def edge(fields: Mapping[str, Any]) -> Edge:
        if "scale" not in fields:
            return Edge(str(fields["dtype"]))
        scale, zero_point = float(fields["scale"]), int(fields["zero_point"])
        if fields["dtype"] != "int8" or not 0 < scale < math.inf or not -128 <= zero_point <= 127:
            raise ValueError("an impossible quantization of an input or output")
        return Edge("int8", scale, zero_point)

    return Border(*({str(n): edge(f) for n, f in data[side].items()} for side in ("inputs", "outputs")))


def integers(samples: Samples, border: Border) -> dict[str, NDArray[np.generic]]:
    """The samples as the artifact takes them."""
    return load.integers(samples, border.to_json()["inputs"])


def at_border(runner: Runner, border: Border | None) -> Runner:
    """A runner that takes and gives the model's real numbers, whatever the artifact takes."""
    return runner if border is None else _AtBorder(runner, border)


def as_deployed(runner: Runner, samples: Samples) -> tuple[Runner, Samples]:
    """What a program calls that takes and gives the artifact's own types, and the samples in these."""
    return (
        (runner.inner, integers(samples, runner.border))
        if isinstance(runner, _AtBorder)
        else (runner, samples)
    )


class _AtBorder:
    def __init__(self, inner: Runner, border: Border) -> None:
        self.inner, self.border = inner, border
        self.execution = inner.execution

    def run(self, inputs: Samples) -> dict[str, NDArray[np.generic]]:
        """[samples, ...] in and out. An input that already is int8 is taken as it is."""
        return load.reals(self.inner.run(integers(inputs, self.border)), self.border.to_json()["outputs"])

    def profile(self) -> Profile:
        return self.border.noted(self.inner.profile())

    def operators(self, sample: Samples) -> tuple[Operator, ...]:
        return self.inner.operators(integers(sample, self.border))
