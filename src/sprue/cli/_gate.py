"""How what was kept compares with a bundle from before, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sprue.cli import _text


def print_gate(summary: Mapping[str, Any]) -> None:
    """Every figure that was held against the bundle, and whether it may be so."""
    gate = summary["gate"]
    if gate is None:
        return
    click.echo(f"against {gate['against']}")
    rows: list[tuple[str, ...]] = [("target", "figure", "before", "now", "change", "allowed", "")]
    rows += [_row(line) for line in gate["lines"]]
    click.echo(_text.table(rows, right=(2, 3, 4, 5)))
    for note in gate["notes"]:
        click.echo(note)
    click.echo()


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    if line["note"]:
        said = click.style(f"not compared: {line['note']}", fg="yellow")
    else:
        said = click.style("ok", fg="green") if line["ok"] else click.style("worse", fg="red", bold=True)
    before, now = line["text"]
    return line["target"], line["label"], before, now, line["change"], line["allowance"], said
