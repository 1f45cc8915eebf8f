"""What was measured of one artifact on one machine: it differs from run to run, so no id covers it.

Amdahl's law bounds what a faster kernel could bring: if an operator takes the share p of an inference,
making it infinitely fast makes the whole 1 / (1 - p) times as fast, and no faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sprue.backend import Operator
from sprue.measuring.timing import Timing

DIGITS = 6
"""Significant ones of a share; more would be noise."""


@dataclass(frozen=True)
class Measured:
    """`timing` is None where only an emulator ran the artifact, `operators` empty where the runtime tells
    nothing.

    `noise`: why the times are noisy; "" if they are not. `peak_memory`: bytes, the largest resident set of a
    fresh process that loads the artifact and runs it; `start_memory`: the same before it imports the runtime
    and loads it, when Python and NumPy are there.
    """

    timing: Timing | None = None
    noise: str = ""
    operators: tuple[Operator, ...] = ()
    peak_memory: int | None = None
    start_memory: int | None = None

    def with_times(
        self, timing: Mapping[str, Any] | None, noise: str, operators: Sequence[Mapping[str, Any]]
    ) -> Measured:
        """And what the step `measure_variants` wrote."""
        times = None if timing is None else Timing(**{**timing, "rounds": tuple(timing["rounds"])})
        noise = noise if timing is not None else ""
        return replace(self, timing=times, noise=noise, operators=tuple(Operator(**o) for o in operators))

    def to_json(self) -> dict[str, Any]:
        return {
            "timing": None if self.timing is None else asdict(self.timing),
            "noise": self.noise,
            "peak_memory": self.peak_memory,
            "start_memory": self.start_memory,
            "operators": [{**asdict(o), "share": s} for o, s in shares(self.operators)],
            "bound": bound(self.operators),
        }


def shares(operators: Sequence[Operator]) -> list[tuple[Operator, float]]:
    """Each operator with its part of the whole, from 0 to 1."""
    whole = sum(_cost(o) for o in operators)
    return [(o, float(f"{_cost(o) / whole:.{DIGITS}g}") if whole else 0.0) for o in operators]


def bound(operators: Sequence[Operator]) -> dict[str, Any] | None:
    """The type of operator that takes most, its share, and the speed-up that no faster kernel of it could
    exceed.

    `speedup` is None where it takes everything, and all of it None where nothing is known.
    """
    by_type: dict[str, float] = {}
    for operator in operators:
        by_type[operator.op] = by_type.get(operator.op, 0.0) + _cost(operator)
    whole = sum(by_type.values())
    if not whole:
        return None
    top = max(by_type, key=lambda op: by_type[op])
    share = by_type[top] / whole
    speedup = None if share >= 1 else float(f"{1 / (1 - share):.{DIGITS}g}")
    return {"op": top, "share": float(f"{share:.{DIGITS}g}"), "speedup": speedup}


def _cost(operator: Operator) -> float:
    return float(operator.instructions or 0) if operator.seconds is None else operator.seconds
