"""`sprue report`: what a build tried, kept and found, as a page, as Markdown, or as JSON."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options
from sprue.errors import SprueError

if TYPE_CHECKING:
    from sprue.report.versus import Versus


@click.command()
@click.argument("source", metavar="RECIPE|BUNDLE")
@click.option("--format", "form", type=click.Choice(["html", "markdown"]), default="html", show_default=True)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Default: NAME-report.html here, or .md; - prints it.",
)
@click.option("--against", metavar="BUNDLE", help="Compare with this one (default: the version before).")
@click.option("--summary", is_flag=True, help="Add it, as Markdown, to the file in $GITHUB_STEP_SUMMARY.")
@_options.cache_option
@_options.store_option
@_options.as_json
def command(
    source: str,
    form: str,
    output: Path | None,
    against: str | None,
    summary: bool,
    cache: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Report on the last build of a recipe, or on a bundle: one page that needs nothing else.

    Runs nothing: build first. RECIPE is its file; BUNDLE is name, name@version, name:tag, or a folder.
    """
    from sprue.report import page
    from sprue.report.find import find_bundle, find_report, previous
    from sprue.report.read import from_bundle
    from sprue.report.versus import versus

    place = _options.open_store(store)
    report = find_report(source, _options.open_cache(cache).folder, place)
    compared: Versus | None = None
    if against is not None:
        compared = versus(from_bundle(find_bundle(against, place)), report)
    elif (before := previous(report, place)) is not None:
        compared = versus(from_bundle(before.folder), report)
    if as_json:
        _options.print_json(
            {"report": asdict(report), "previous": None if compared is None else compared.json()}
        )
        return
    if summary:
        _append(page.markdown(report, compared))
        return
    made = page.html(report, compared) if form == "html" else page.markdown(report, compared)
    if str(output) == "-":
        click.echo(made, nl=False)
        return
    path = output or Path(f"{report.name}-report.{'html' if form == 'html' else 'md'}")
    _write(path, made)
    click.echo(path)


def _append(text: str) -> None:
    name = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if not name:
        raise SprueError(
            "GITHUB_STEP_SUMMARY is not set",
            remedy="--summary is for jobs on GitHub; elsewhere: --format markdown --output FILE",
        )
    with Path(name).open("a", encoding="utf-8") as stream:
        stream.write(text)


def _write(path: Path, text: str) -> None:
    from sprue.durable import write_file

    write_file(path, text.encode(), durable=False, mode=0o644)
