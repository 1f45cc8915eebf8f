"""The figures that variants are compared by: what each is called, where it stands, how it is written.

All but the metric are costs: less is better. Costs are compared in parts of the old one, a metric as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sprue import units
from sprue.report.data import Reference, Report, Tried

Scale = Literal["bytes", "seconds", "joules", "count", "money", "plain"]
Word = Literal["metric", "size", "latency", "cost"]
"""Whose allowance in `[gate]` holds for a figure."""


@dataclass(frozen=True)
class Figure:
    """`exact`: another machine gives the same value; times are not. `small`: it stands below another."""

    key: str
    label: str
    scale: Scale
    word: Word
    get: Callable[[Tried], float | None]
    higher_is_better: bool = False
    exact: bool = True
    small: bool = False

    def text(self, value: float | None) -> str:
        """The value with its unit; "" for None."""
        if value is None:
            return ""
        if self.scale == "bytes":
            return units.size(round(value))
        if self.scale in ("seconds", "joules"):
            text = units.seconds(value).replace(" us", " µs")
            return text if self.scale == "seconds" else text[:-1] + "J"
        if self.scale == "money":
            return f"{value:.4g}"
        return units.count(round(value)) if self.scale == "count" else f"{value:.4f}"

    def worse(self, before: float, after: float) -> float:
        """By how much `after` is worse: in parts of `before`, a metric as it is. Negative: better."""
        if self.scale == "plain":
            return before - after if self.higher_is_better else after - before
        return (after - before) / before if before else float(after > 0)

    def change(self, before: float, after: float) -> str:
        """`+3.1 %`, or `-0.0040` for a metric; "same" where nothing changed."""
        if before == after:
            return "same"
        if self.scale == "plain":
            return f"{after - before:+.4f}"
        return f"{(after - before) / before:+.1%}".replace("%", " %") if before else "new"


SIZE = Figure("size", "size", "bytes", "size", lambda t: t.bytes)
LATENCY = Figure("latency", "latency", "seconds", "latency", lambda t: t.latency, exact=False)
INSTRUCTIONS = Figure("instructions", "instructions", "count", "latency", lambda t: t.instructions)
CYCLES = Figure("cycles", "cycles (estimate)", "count", "cost", lambda t: t.cycles, small=True)
ESTIMATE = Figure("estimate", "time (estimate)", "seconds", "cost", lambda t: t.estimate, small=True)
RAM = Figure("ram", "RAM", "bytes", "cost", lambda t: t.ram)
CPU = Figure("cpu", "core-seconds", "seconds", "cost", lambda t: t.cpu, exact=False)
MEMORY = Figure("peak_memory", "peak memory", "bytes", "cost", lambda t: t.peak_memory, exact=False)
BYTES_MOVED = Figure("bytes_moved", "bytes moved", "bytes", "cost", lambda t: t.bytes_moved, small=True)
ENERGY = Figure("energy", "energy (estimate)", "joules", "cost", lambda t: t.energy, small=True)
PRICE = Figure(
    "price", "price", "money", "cost", lambda t: None if t.price is None else t.price.amount, exact=False
)


def metric(reference: Reference) -> Figure:
    """The model's own metric."""
    better = reference.higher_is_better
    return Figure("metric", reference.metric, "plain", "metric", lambda t: t.metric, better)


def figures(report: Report) -> tuple[Figure, ...]:
    """All figures that a report may know, the metric first."""
    first = () if report.reference is None else (metric(report.reference),)
    currencies = sorted({t.price.currency for x in report.targets for t in x.tried if t.price is not None})
    price = replace(PRICE, label=f"{' or '.join(currencies) or 'price'} per million")
    timed = (LATENCY, INSTRUCTIONS, CYCLES, ESTIMATE, CPU)
    return (*first, SIZE, *timed, MEMORY, RAM, BYTES_MOVED, ENERGY, price)


def known(found: Sequence[Figure], tried: Sequence[Tried]) -> tuple[Figure, ...]:
    """Those that at least one variant has."""
    return tuple(f for f in found if any(f.get(t) is not None for t in tried))


def speed(tried: Sequence[Tried]) -> Figure | None:
    """How speed is told for these: by latency, else by the instructions that an emulator counted."""
    return next(iter(known((LATENCY, INSTRUCTIONS), tried)), None)
