"""Options that several commands share, and where things lie when they are not given."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sprue.errors import SprueError

if TYPE_CHECKING:
    from sprue.bundle.store import Store
    from sprue.engine.cache import Cache

recipe_argument = click.argument("recipe", type=click.Path(path_type=Path))
recipes_argument = click.argument("recipes", nargs=-1, required=True)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
targets = click.option(
    "--target", "-t", "only_targets", multiple=True, help="Only this target; may be repeated."
)
variants = click.option(
    "--variant", "only_variants", multiple=True, help="Only this variant; may be repeated."
)
store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    envvar="SPRUE_STORE",
    help="Where bundles lie (default: ./bundles).",
)
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    envvar="SPRUE_CACHE",
    help="Default: sprue in the user's cache folder.",
)


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")
    sys.stdout.flush()  # so that a full disk is an error, and not a line that nobody sees at exit


def open_cache(folder: Path | None) -> Cache:
    """The cache in `folder`, or the user's own. Says on stderr if it is new beside one of another format."""
    from sprue.engine.cache import Cache

    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    opened = Cache(folder or base / "sprue")
    if opened.note:
        click.echo(f"note: {opened.note}", err=True)
    return opened


def store_folder(folder: Path | None) -> Path:
    """The folder named, else `bundles/` in the working folder or the nearest folder above that has one."""
    if folder is not None:
        return folder
    here = Path.cwd()
    return next((p / "bundles" for p in (here, *here.parents) if (p / "bundles").is_dir()), here / "bundles")


def refuse_unwritable(store: Path) -> None:
    """Raises SprueError when no bundle can be put there: better before a build than after it."""
    there = next(p for p in (store.absolute(), *store.absolute().parents) if os.path.lexists(p))
    if not there.is_dir():
        raise SprueError("bundles need a folder", where=str(there), remedy="name another one with --store")
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = "name another folder with --store, or let this user in there"
        raise SprueError("no bundle can be written there", where=str(there), remedy=remedy)


def open_store(folder: Path | None) -> Store:
    from sprue.bundle.store import Store

    return Store(store_folder(folder))


def bundle_folder(bundle: str, store: Path | None) -> Path:
    """The folder of BUNDLE: the path of one, or what a reference means in the store."""
    if (Path(bundle) / "manifest.json").exists():
        return Path(bundle)
    return open_store(store).find(bundle).folder
