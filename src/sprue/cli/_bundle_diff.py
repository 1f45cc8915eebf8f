"""`sprue bundle diff`: what changed between two bundles, in words and numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _text

if TYPE_CHECKING:
    from sprue.bundle.diff import Change, Value

NOISE = 0.10
"""Times that differ by less count as equal, here as where a build selects by them."""

FindFolder = Callable[[str, Path | None], Path]


def register(group: click.Group, find_folder: FindFolder) -> None:
    """Add it to `sprue bundle`; `find_folder` turns BUNDLE and --store into a folder."""

    @group.command("diff")
    @click.argument("before")
    @click.argument("after")
    @_options.store_option
    @_options.as_json
    def diff_command(before: str, after: str, store: Path | None, as_json: bool) -> None:
        """Say what changed from one bundle to another: figures, files, graph, recipe, data, tools.

        Latencies come from the machines that built them, and count for little if these were two.
        """
        from sprue.bundle.diff import diff_bundles

        found = diff_bundles(find_folder(before, store), find_folder(after, store))
        if as_json:
            both = {"before": found.before, "after": found.after}
            said = {k: {"name": m.name, "version": m.version, "id": m.id()} for k, m in both.items()}
            _options.print_json({**said, "changes": [asdict(c) for c in found.changes]})
            return
        for sign, made in (("-", found.before), ("+", found.after)):
            click.echo(f"{sign} {made.name}@{made.version}#{made.id()[:12]}")
        print_changes(found.changes)


def print_changes(changes: tuple[Change, ...]) -> None:
    if not changes:
        click.echo("no difference")
    for part, group in groupby(changes, key=lambda c: c.part):
        click.echo(click.style(part, bold=True))
        for change in group:
            before, after = (_value(v, change.unit) for v in (change.before, change.after))
            click.echo(f"  {change.what}: {before} -> {after}{_by(change)}")


def _value(value: Value, unit: str) -> str:
    if value is None or value == "":
        return "none"
    if unit == "bytes":
        return _text.size(int(value))
    if unit == "s":
        return _text.seconds(float(value))
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return value[:12]
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _by(change: Change) -> str:
    """How much more or less: in parts of the first for sizes and times, as it is for the rest."""
    before, after = change.before, change.after
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return ""
    if isinstance(before, bool) or isinstance(after, bool):
        return ""
    if change.unit and before:
        noise = ", noise" if change.unit == "s" and abs(after / before - 1) < NOISE else ""
        return f" ({after / before - 1:+.1%}{noise})"
    return f" ({after - before:+.4g})"
