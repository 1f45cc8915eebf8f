"""An axis of a plot: from values to pixels, with round ticks in the unit that fits.

Costs start at zero, so that a length means its value; where the largest is more than `FAR` times the smallest
the axis is logarithmic, and says so. A metric's axis spans what there is to see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sprue import units
from sprue.report.figures import Figure

FAR = 30
MOST_TICKS = 6


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """`low` and `high` in the figure's own unit stand at the pixels `start` and `end`."""

    label: str
    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[Tick, ...] = ()

    def at(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def axis(figure: Figure, values: Sequence[float], start: float, end: float) -> Axis:
    """An axis for these values of a figure; at least one of them, none negative but metrics."""
    unit, factor = _unit(figure, max(values))
    least = min(values)
    log = figure.scale != "plain" and least > 0 and max(values) / least > FAR
    if figure.scale == "plain":
        room = (max(values) - least) * 0.15 or max(abs(least) * 0.01, 1e-4)
        low, high = least - room, max(values) + room
    elif log:
        low, high = least / 1.6, max(values) * 1.6
    else:
        low, high = 0.0, max(values) * 1.12 or 1.0
    better = "more is better" if figure.higher_is_better else "less is better"
    notes = ", ".join(t for t in (unit, "log scale" if log else "", better) if t)
    blank = Axis(f"{figure.label} ({notes})", low, high, start, end, log)
    at = _log_ticks(low, high, factor) if log else _linear_ticks(low / factor, high / factor)
    ticks = tuple(Tick(blank.at(t * factor), _number(t, at)) for t in at)
    return Axis(blank.label, low, high, start, end, log, ticks)


def _unit(figure: Figure, largest: float) -> tuple[str, float]:
    if figure.scale == "plain":
        return "", 1
    if figure.scale == "count":
        known = (("thousand millions", 1e9), ("millions", 1e6), ("thousands", 1e3), ("", 1.0))
        return next((u, f) for u, f in known if largest >= f or f == 1)
    if figure.scale == "money":
        return "", 1
    scales = units.SIZES if figure.scale == "bytes" else units.TIMES
    unit, factor = next(((u, float(f)) for u, f in scales if largest >= f), scales[-1])
    unit = unit.replace("us", "µs")
    return (unit[:-1] + "J" if figure.scale == "joules" else unit), float(factor)


def _linear_ticks(low: float, high: float) -> list[float]:
    """The multiples of 1, 2 or 5 times a power of ten between `low` and `high`, at most MOST_TICKS."""
    rough = (high - low) / MOST_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, factor: float) -> list[float]:
    """Powers of ten, with 2 and 5 times them where there is room."""
    low, high = low / factor, high / factor
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [float(f"{m * 10.0**p:.12g}") for p in powers for m in steps if low <= m * 10.0**p <= high]
        if len(found) <= MOST_TICKS or steps == (1,):
            return found[:: math.ceil(len(found) / MOST_TICKS) or 1]
    raise AssertionError


def _number(value: float, all_of_them: Sequence[float]) -> str:
    """With as many decimals as the ticks need to differ."""
    texts = [f"{t:.12f}".rstrip("0").partition(".")[2] for t in all_of_them]
    places = max((len(t) for t in texts), default=0)
    return f"{value:,.{places}f}" if max(abs(t) for t in all_of_them) < 1e6 else f"{value:.3g}"
