"""`sprue seal`: the last CI job: all parts are there and agree, so one bundle of them is published."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _registry, _text

if TYPE_CHECKING:
    from sprue.ci.seal import Outcome, Sign


@click.command()
@click.option(
    "--matrix",
    "matrix_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default="matrix.json",
    show_default=True,
    help="What `sprue matrix --out` wrote.",
)
@click.option(
    "--shards",
    type=click.Path(path_type=Path, file_okay=False),
    default="shards",
    show_default=True,
    help="The records that the jobs left behind.",
)
@click.option(
    "--push", required=True, metavar="URL", help="Where the jobs pushed, and bundles are published."
)
@click.option("--keep-going", is_flag=True, help="Publish what is whole, although something else is not.")
@click.option("--skip-published", is_flag=True, help="Leave versions alone that mean another bundle already.")
@click.option("--sign", "key", metavar="NAME|FILE", help="Sign with this private key, and publish that, too.")
@_options.store_option
@_options.as_json
def command(
    matrix_file: Path,
    shards: Path,
    push: str,
    keep_going: bool,
    skip_published: bool,
    key: str | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Put the parts that the jobs of a matrix pushed together, and publish each bundle as its version."""
    from sprue.ci.matrix_file import read_matrix
    from sprue.ci.seal import seal
    from sprue.ci.shard_file import read_shards

    outcome = seal(
        read_matrix(matrix_file),
        list(read_shards(shards).values()),
        push.rstrip("/"),
        partial(_registry.opened, bar=False),
        _options.open_store(store),
        keep_going=keep_going,
        skip_published=skip_published,
        sign=None if key is None else _signing(key),
    )
    if as_json:
        sealed = [{**asdict(s), "folder": str(s.folder)} for s in outcome.sealed]
        said = {"ok": not outcome.problems, "sealed": sealed, "left": outcome.left}
        _options.print_json({**said, "problems": outcome.problems})
    else:
        _print(outcome)
    if outcome.problems:
        raise click.exceptions.Exit(1)


def _signing(key: str) -> Sign:
    from sprue.trust.keys import find_private, keys_folder
    from sprue.trust.signature import sign_bundle

    return partial(sign_bundle, key=find_private(key, keys_folder(None)), environment=os.environ)


def _print(outcome: Outcome) -> None:
    rows = [("bundle", "id", "")]
    rows += [
        (f"{s.name}@{s.version}", s.id[:12], "published" if s.new else "was published already")
        for s in outcome.sealed
    ]
    if outcome.sealed:
        click.echo(_text.table(rows))
    for line in outcome.left:
        click.echo(f"{click.style('left as it is:', fg='yellow')} {line}")
    for problem in outcome.problems:
        click.echo(f"{click.style('not sealed:', fg='red')} {problem}")
    if not outcome.sealed and not outcome.problems and not outcome.left:
        click.echo("nothing to seal: no recipe is affected")
    elif not outcome.sealed:
        click.echo("nothing was published")
