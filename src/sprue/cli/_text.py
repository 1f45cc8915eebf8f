"""Figures and tables as text for people."""

from __future__ import annotations

from collections.abc import Sequence

import click

STATE_COLOURS = {"verified": "green", "prepared": "yellow", "failed": "red"}


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Aligned columns; the first row is the heading. `right`: columns to align to the right."""
    widths = [max(len(click.unstyle(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for i, cell in enumerate(row):
            pad = " " * (widths[i] - len(click.unstyle(cell)))
            cells.append(pad + cell if i in right else cell + pad)
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def size(count: int | None) -> str:
    """Bytes with a binary unit."""
    if count is None:
        return ""
    if count < 1024:
        return f"{count} B"
    for unit, factor in (("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)):
        if count < factor * 1024 or unit == "GiB":
            return f"{count / factor:.1f} {unit}"
    raise AssertionError


def seconds(value: float | None) -> str:
    """A duration with the unit that fits it."""
    if value is None:
        return ""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-9:.0f} ns"


def count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def state(name: str) -> str:
    return click.style(name, fg=STATE_COLOURS.get(name))
