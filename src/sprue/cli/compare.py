"""`sprue compare`: two models of one task, quality against cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _text

if TYPE_CHECKING:
    from sprue.report.compare import Compared


@click.command()
@click.argument("one", metavar="RECIPE|BUNDLE")
@click.argument("other", metavar="RECIPE|BUNDLE")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write a page, too.")
@_options.cache_option
@_options.store_option
@_options.as_json
def command(
    one: str, other: str, output: Path | None, cache: Path | None, store: Path | None, as_json: bool
) -> None:
    """Set two models of one task side by side: by their last builds, or by their bundles.

    Refuses models that were judged by different metrics or on different data. Runs nothing: build first.
    """
    from sprue.durable import write_file
    from sprue.report import page
    from sprue.report.compare import compare
    from sprue.report.find import find_report
    from sprue.report.margins import margins

    folder, place = _options.open_cache(cache), _options.open_store(store)
    both = find_report(one, folder.folder, place), find_report(other, folder.folder, place)
    recipes = one.endswith(".toml") and other.endswith(".toml")
    compared = compare(*both, margins(Path(one), Path(other), folder) if recipes else None)
    if output is not None:
        write_file(output, page.comparison(compared).encode(), durable=False, mode=0o644)
    if as_json:
        _options.print_json(compared.json())
        return
    _print(compared)
    if output is not None:
        click.echo(output)


def _print(compared: Compared) -> None:
    for task in compared.tasks:
        first, second = task.versus.before, task.versus.after
        assert first is not None
        assert second is not None
        click.echo(click.style(task.versus.id, bold=True))
        rows: list[tuple[str, ...]] = [("", *compared.names, "difference")]
        rows.append(("variant", first.variant, second.variant, ""))
        for row in task.versus.rows:
            said = f"not compared: {row.note}" if row.note else row.change
            if row.figure.word == "metric" and task.margin is not None:
                said += f" ({task.margin.text})"
            rows.append((row.figure.label, row.figure.text(row.before), row.figure.text(row.after), said))
        click.echo(_text.table(rows, right=(1, 2)) + "\n")
