"""`sprue ratchet`: whether what was built is as committed, better or worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _text
from sprue.errors import CheckError, SprueError

if TYPE_CHECKING:
    from sprue.history.ratchet import Change

COLOURS = {"worse": "red", "better": "green", "other": "yellow", "new": "yellow", "gone": "yellow"}


@click.command()
@_options.recipes_argument
@click.option("--update", is_flag=True, help="Commit the figures as they are now; needs --reason.")
@click.option("--reason", help="Why they changed, for whoever reads the file.")
@_options.cache_option
@_options.as_json
def command(
    recipes: tuple[str, ...], update: bool, reason: str | None, cache: Path | None, as_json: bool
) -> None:
    """Hold the last builds against the figures in ratchet.json beside the recipes.

    Unexplained improvements fail like losses. Runs nothing: build first.
    """
    from sprue.recipe_files import is_base, recipe_files

    if update != (reason is not None and bool(reason.strip())):
        raise SprueError(
            "--update and --reason go together", remedy='sprue ratchet recipes/ --update --reason "why"'
        )
    files = [path for path in recipe_files(recipes) if not is_base(path)]
    folder = _options.open_cache(cache).folder
    found: list[Change] = []
    notes: list[str] = []
    for parent, group in groupby(sorted(files), key=lambda path: path.parent):
        made, said = _hold(parent, list(group), folder, reason.strip() if reason else None)
        found += made
        notes += said
    if as_json:
        listed = [asdict(c) for c in found]
        _options.print_json({"ok": update or not found, "changes": listed, "notes": notes, "updated": update})
    else:
        _print(found, notes, update=update)
    if found and not update:
        raise click.exceptions.Exit(CheckError.exit_code)


def _hold(
    parent: Path, recipes: Sequence[Path], cache: Path, reason: str | None
) -> tuple[list[Change], list[str]]:
    """The changes of the recipes of one folder, and the targets that were not timed well enough to tell."""
    from sprue.history import ratchet
    from sprue.report.read import from_last_build

    path = parent / ratchet.FILE
    file = ratchet.read_ratchet(path)
    if file is None and reason is None:
        remedy = f'sprue ratchet {parent} --update --reason "first figures"'
        raise SprueError("there is no such file yet", where=str(path), remedy=remedy)
    file = file or ratchet.empty()
    found, notes = [], []
    for recipe in recipes:
        report = from_last_build(cache, recipe)
        now = ratchet.figures(report)
        notes += [f"{report.name} {why}" for why in ratchet.noisy(report)]
        changed = ratchet.changes(file, report, now)
        if reason is not None:
            file = ratchet.updated(file, report, now, changed, reason)
        found += changed
    if reason is not None and found:
        ratchet.write_ratchet(path, file)
    return found, notes


def _print(found: Sequence[Change], notes: Sequence[str], *, update: bool) -> None:
    rows = [("recipe", "target", "figure", "committed", "now", "")]
    for c in found:
        kind = click.style(c.kind, COLOURS[c.kind])
        rows.append((c.recipe, c.target, c.figure, _value(c.committed), _value(c.now), kind))
    if found:
        click.echo(_text.table(rows, right=(3, 4)) + "\n")
    for note in notes:
        click.echo(f"noisy times, the ratio may be off: {note}")
    if not found:
        click.echo("all figures are as committed")
    elif update:
        click.echo(f"committed {len(found)} changes")
    else:
        click.echo(f"{len(found)} figures are not as committed; to accept them, say why:")
        click.echo('  sprue ratchet ... --update --reason "..."')


def _value(value: float | str | None) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
