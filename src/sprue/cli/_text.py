"""Tables as text for people, and the figures in them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sprue.units import count, seconds, size

__all__ = ["count", "seconds", "size", "state", "table"]

STATE_COLOURS = {"verified": "green", "prepared": "yellow", "refused": "magenta", "failed": "red"}


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


def state(name: str) -> str:
    return click.style(name, fg=STATE_COLOURS.get(name))
