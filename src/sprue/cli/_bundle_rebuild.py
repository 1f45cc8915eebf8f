"""`sprue bundle rebuild`: build a bundle again from its own contents, and say what differs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _executor, _options, _text
from sprue.cli._progress import progress

if TYPE_CHECKING:
    from sprue.rebuild import Rebuilt

FindFolder = Callable[[str, Path | None], Path]


def register(group: click.Group, find_folder: FindFolder) -> None:
    """Add it to `sprue bundle`; `find_folder` turns BUNDLE and --store into a folder."""

    @group.command("rebuild")
    @click.argument("bundle")
    @click.option("--check", is_flag=True, help="Only say what differs; exit with 1 if anything does.")
    @click.option(
        "--jobs", "-j", type=click.IntRange(1, 256), help="Worker processes (default: one per core)."
    )
    @click.option("--timeout", type=click.FloatRange(min=0.1), default=600.0, help="Seconds for one action.")
    @_options.store_option
    @_options.as_json
    def rebuild_command(
        bundle: str, check: bool, jobs: int | None, timeout: float, store: Path | None, as_json: bool
    ) -> None:
        """Build BUNDLE again from what is in it: model, data, recipe, targets. No cache, no code of its own.

        Without --check the new bundle is kept beside the old one, which goes on to be what its name means.
        """
        from sprue.bundle.store import Store
        from sprue.engine.cache import Cache
        from sprue.rebuild import rebuild

        folder = find_folder(bundle, store)
        with tempfile.TemporaryDirectory(prefix="sprue-rebuild-") as work:
            place = Path(work)
            kept = Store(place / "store") if check else _options.open_store(store)
            with (
                progress(Cache(place / "cache"), as_json=as_json, trace=None) as listen,
                _executor.executor("local", None, jobs, None) as pool,
            ):
                (place / "work").mkdir()
                made = rebuild(folder, place / "work", kept, pool, listen, timeout=timeout)
        _print(made, None if check else made.folder, as_json)
        if check and not made.equal:
            raise click.exceptions.Exit(1)


def _print(made: Rebuilt, folder: Path | None, as_json: bool) -> None:
    if as_json:
        said = {"equal": made.equal, "same": made.same, "files": [asdict(f) for f in made.files]}
        tools = {name: {"before": a, "now": b} for name, (a, b) in made.tools.items()}
        place = {"id": made.manifest.id(), "folder": None if folder is None else str(folder)}
        _options.print_json({**said, "tools": tools, "causes": made.causes(), **place})
        return
    word = click.style("the same", fg="green") if made.equal else click.style("not the same", fg="red")
    click.echo(f"{word}: {made.same} files are equal, {len(made.files)} differ")
    if made.files:
        click.echo(_text.table([("differs in", "file", ""), *((f.kind, f.path, f.what) for f in made.files)]))
    for name, (before, now) in made.tools.items():
        click.echo(f"tool {name}: {before or 'not used'} -> {now}")
    for cause in made.causes():
        click.echo(f"cause: {cause}")
    if folder is not None:
        click.echo(f"id {made.manifest.id()}\n  {folder}")
