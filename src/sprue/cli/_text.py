"""Tables as text for people, and the figures in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from sprue.units import count, seconds, size

__all__ = ["count", "estimate", "memory", "seconds", "size", "state", "table", "words_and_figures"]

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


def words_and_figures(rows: Sequence[Sequence[str]], *, words: int) -> str:
    """A table without the columns that say nothing of any row. The first `words` columns are words; figures
    are aligned to the right.
    """
    said = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    right = [n for n, i in enumerate(said) if i >= words]
    return table([[row[i] for i in said] for row in rows], right=right)


def estimate(cycles: int | None, time: float | None) -> str:
    """Of an emulated processor: how long it would take, or its cycles where the clock is not known."""
    if time is not None:
        return seconds(time)
    return "" if cycles is None else f"{count(cycles)} cycles"


def memory(notes: Mapping[str, str]) -> str:
    """What a backend notes of the parts of an artifact's RAM; "" if nothing."""
    return ", ".join(f"{part} {notes[part]}" for part in ("arena", "stack") if part in notes)


def state(name: str) -> str:
    return click.style(name, fg=STATE_COLOURS.get(name))
