"""`sprue key new | list`: the keys that sign bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _text

if TYPE_CHECKING:
    from sprue.trust.keys import Listed

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    envvar="SPRUE_KEYS",
    help="Where keys lie (default: sprue/keys in the user's configuration).",
)


@click.group("key")
def command() -> None:
    """Make and list the keys that sign bundles."""


@command.command("new")
@click.argument("name")
@folder_option
@_options.as_json
def new(name: str, folder: Path | None, as_json: bool) -> None:
    """Make the ed25519 keys NAME.key, for who signs, and NAME.pub, for everyone."""
    from sprue.trust.keys import keys_folder, new_key

    made = new_key(name, keys_folder(folder))
    if as_json:
        _options.print_json(_json(made))
        return
    click.echo(f"{made.public.name}: id {made.public.id}")
    click.echo(f"  private, keep it:  {made.file.with_suffix('.key')}")
    click.echo(f"  public, give it:   {made.file}")


@command.command("list")
@folder_option
@_options.as_json
def list_all(folder: Path | None, as_json: bool) -> None:
    """List the keys, and whether their private halves are here."""
    from sprue.trust.keys import keys_folder, list_keys

    found = list_keys(keys_folder(folder))
    if as_json:
        _options.print_json([_json(key) for key in found])
        return
    if not found:
        click.echo("no keys; `sprue key new NAME` makes one")
        return
    rows = [("key", "id", "private half", "file")]
    for key in found:
        private = key.private
        if private == "readable by others":
            private = click.style(f"{private}: chmod 600", fg="red")
        rows.append((key.public.name, key.public.id[:16], private, str(key.file)))
    click.echo(_text.table(rows))


def _json(key: Listed) -> dict[str, str]:
    return {
        "name": key.public.name,
        "id": key.public.id,
        "private": key.private,
        "file": str(key.file),
    }
