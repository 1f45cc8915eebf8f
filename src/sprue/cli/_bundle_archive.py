"""`sprue bundle export | import`: bundles as one file, for rooms without a network."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from sprue.cli import _bundle_trust, _options, _text
from sprue.errors import SprueError, refused

if TYPE_CHECKING:
    from sprue.bundle.manifest import Manifest

FindFolder = Callable[[str, Path | None], Path]


def register(group: click.Group, find_folder: FindFolder) -> None:
    """Add both to `sprue bundle`; `find_folder` turns BUNDLE and --store into a folder."""

    @group.command("export")
    @click.argument("bundle")
    @click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
    @click.option("--with-signatures", "signed", is_flag=True, help="Also those that lie beside BUNDLE.")
    @_options.store_option
    @_options.as_json
    def export_command(bundle: str, file: Path, signed: bool, store: Path | None, as_json: bool) -> None:
        """Write BUNDLE as one tar with an install.sh; the same bytes each time. FILE may be -."""
        from sprue.bundle.archive import epoch, export_bundle

        if str(file) == "-" and as_json:
            raise click.UsageError("--json and an archive cannot both go to standard output")
        folder = find_folder(bundle, store)
        with _sink(file) as out:
            manifest = export_bundle(folder, out, epoch(), signatures=signed)
            size = out.tell() if out.seekable() else None
        if as_json:
            _options.print_json({"file": str(file), "id": manifest.id(), "bytes": size})
        elif str(file) != "-":
            known = f"{manifest.name}@{manifest.version}"
            click.echo(f"wrote {known} to {file}, {_text.size(size)}\nid {manifest.id()}")

    @group.command("import")
    @click.argument("source", type=click.Path(path_type=Path, allow_dash=True))
    @click.option("--id", "expected", metavar="ID", help="The id that its publisher told you, in full.")
    @_options.store_option
    @_options.as_json
    @_bundle_trust.demands
    def import_command(
        source: Path, expected: str | None, store: Path | None, as_json: bool, demand: _bundle_trust.Demand
    ) -> None:
        """Let the bundle in SOURCE into the store, with its signatures, when all of it is right.

        SOURCE is a tar that `export` wrote, - for standard input, or the folder of a bundle.
        """
        from sprue.bundle.receive import import_archive, import_folder

        opened = _options.open_store(store)
        signed: list[dict[str, str]] = []

        def approve(folder: Path, manifest: Manifest) -> None:
            signed.extend(demand.signed_by(folder, manifest))

        if source.is_dir():
            received = import_folder(source, opened, expected, approve)
        else:
            with _source(source) as stream:
                received = import_archive(stream, opened, str(source), expected, approve)
        manifest = received.manifest
        by = [{k: v for k, v in s.items() if k != "file"} for s in signed]
        known = f"{manifest.name}@{manifest.version}"
        reference = known if received.latest else f"{known}#{manifest.id()[:12]}"
        if as_json:
            said = {"reference": reference, "id": manifest.id(), "folder": str(received.folder)}
            _options.print_json(said | {"new": received.new, "latest": received.latest, "signatures": by})
            return
        word = "imported" if received.new else "already there:"
        click.echo(f"{word} {reference}{_bundle_trust.said(signed)}\nid {manifest.id()}")
        if not received.latest:
            click.echo(f"{known} still means the bundle that it did")


@contextlib.contextmanager
def _sink(file: Path) -> Iterator[BinaryIO]:
    """The file, in its place only when all of it was written; or standard output."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists() and not file.is_file():
        raise SprueError("not a plain file", where=str(file))
    beside = file.with_name(f".{file.name[:100]}.{os.getpid()}.part")
    try:
        with beside.open("xb") as out:
            yield out
        beside.replace(file)
    except OSError as error:
        raise refused("cannot write it", error, file) from error
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _source(file: Path) -> Iterator[FileIO]:
    try:
        stream = FileIO(sys.stdin.fileno(), closefd=False) if str(file) == "-" else FileIO(file)
    except OSError as error:
        raise refused("cannot read it", error, file) from error
    with stream:
        yield stream
