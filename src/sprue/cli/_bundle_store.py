"""`sprue bundle tag | rollback | rm | gc`: what the store's bundles are called, and which of them stay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _options, _text
from sprue.errors import SprueError

if TYPE_CHECKING:
    from sprue.bundle.tags import Tag


def register(group: click.Group) -> None:
    """Add the commands to `sprue bundle`."""
    for command in (tag_command, rollback_command, remove_command, collect_command):
        group.add_command(command)


@click.command("tag")
@click.argument("bundle", required=False)
@click.argument("tag", required=False)
@click.option("--list", "listed", is_flag=True, help="All tags; with a name, those of its bundles.")
@click.option("--history", "moves", is_flag=True, help="Every move of the tag NAME:TAG.")
@click.option("--remove", "removed", is_flag=True, help="Let NAME:TAG mean nothing any more.")
@_options.store_option
@_options.as_json
def tag_command(
    bundle: str | None,
    tag: str | None,
    listed: bool,
    moves: bool,
    removed: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Let NAME:TAG mean BUNDLE from now on, once it is verified: sprue bundle tag digits@1.0.0 prod."""
    from sprue.bundle.tags import move_tag, read_tags, remove_tag

    if listed + moves + removed > 1:
        raise click.UsageError("--list, --history and --remove exclude each other")
    opened = _options.open_store(store)
    if listed:
        if tag is not None:
            raise click.UsageError("--list takes a name, and no tag")
        _print_tags(read_tags(opened.folder, bundle), as_json)
    elif moves:
        _print_history(_read(opened.folder, bundle, tag), as_json)
    elif removed:
        known = _read(opened.folder, bundle, tag)
        _print_move(remove_tag(opened.folder, known.name, known.tag), as_json)
    else:
        if bundle is None or tag is None:
            raise click.UsageError("name a bundle and a tag: sprue bundle tag digits@1.0.0 prod")
        found = opened.find(bundle)
        opened.check(found)
        name = found.manifest.name
        tag = tag.removeprefix(f"{name}:")  # as it is written where it is used
        _print_move(move_tag(opened.folder, name, tag, found.id, found.manifest.version), as_json)


@click.command("rollback")
@click.argument("name")
@click.argument("tag", required=False)
@_options.store_option
@_options.as_json
def rollback_command(name: str, tag: str | None, store: Path | None, as_json: bool) -> None:
    """Undo the last move of a tag: sprue bundle rollback digits prod. Twice undoes two."""
    from sprue.bundle.tags import previous, roll_back

    opened = _options.open_store(store)
    known = _read(opened.folder, name, tag)
    before = previous(known)
    opened.check(opened.find(f"{known.name}@{before.version}#{before.id}"))
    _print_move(roll_back(opened.folder, known.name, known.tag, known), as_json)


@click.command("rm")
@click.argument("bundles", nargs=-1, required=True)
@_options.store_option
@_options.as_json
def remove_command(bundles: tuple[str, ...], store: Path | None, as_json: bool) -> None:
    """Remove bundles from the store. One that is tagged stays; `gc` frees what no other bundle shares."""
    opened = _options.open_store(store)
    found = {s.id: s for s in (opened.find(bundle) for bundle in bundles)}
    for stored in found.values():
        opened.remove(stored)
        if not as_json:
            click.echo(f"removed {stored.manifest.name}@{stored.manifest.version}#{stored.id[:12]}")
    if as_json:
        _options.print_json([{"id": s.id, "folder": str(s.folder)} for s in found.values()])


@click.command("gc")
@click.option("--superseded", is_flag=True, help="Also bundles that are neither latest nor tagged.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@_options.store_option
@_options.as_json
def collect_command(superseded: bool, dry_run: bool, store: Path | None, as_json: bool) -> None:
    """Remove blobs that no bundle holds, and what processes that died left behind."""
    from sprue.bundle.collect import collect

    made = collect(_options.open_store(store), superseded=superseded, dry_run=dry_run)
    if as_json:
        _options.print_json({"bundles": list(made.bundles), "blobs": made.blobs, "bytes": made.size})
        return
    would = "would remove" if dry_run else "removed"
    for reference in made.bundles:
        click.echo(f"{would} {reference}")
    click.echo(f"{would} {made.blobs} blobs, {_text.size(made.size)}")


def _read(folder: Path, name: str | None, tag: str | None) -> Tag:
    """The tag in NAME:TAG, or in NAME TAG."""
    from sprue.bundle.tags import existing_tag

    if name is not None and tag is None:
        name, _, tag = name.partition(":")
    if not name or not tag:
        raise SprueError("which tag?", remedy="write NAME:TAG, such as digits:prod")
    return existing_tag(folder, name, tag)


def _meaning(tag: Tag) -> str:
    now = tag.current
    return "nothing" if now is None else f"{tag.name}@{now.version}#{(now.id or '')[:12]}"


def _print_move(tag: Tag, as_json: bool) -> None:
    now = tag.current
    if as_json:
        _options.print_json(
            {"tag": f"{tag.name}:{tag.tag}", "id": now and now.id, "version": now and now.version}
        )
    else:
        click.echo(f"{tag.name}:{tag.tag} means {_meaning(tag)}")


def _print_tags(tags: list[Tag], as_json: bool) -> None:
    if as_json:
        _options.print_json(
            [
                {
                    "name": t.name,
                    "tag": t.tag,
                    "id": t.current.id,
                    "version": t.current.version,
                    "at": t.current.at,
                }
                for t in tags
                if t.current is not None
            ]
        )
    elif not tags:
        click.echo("no tags; `sprue bundle tag NAME@VERSION TAG` makes one")
    else:
        rows = [("tag", "means", "since")]
        rows += [(f"{t.name}:{t.tag}", _meaning(t), t.current.at) for t in tags if t.current is not None]
        click.echo(_text.table(rows))


def _print_history(tag: Tag, as_json: bool) -> None:
    if as_json:
        _options.print_json([m.model_dump(mode="json") for m in tag.moves])
        return
    rows = [("at", "what", "to")]
    rows += [(m.at, m.kind, f"{tag.name}@{m.version}#{m.id[:12]}" if m.id else "nothing") for m in tag.moves]
    click.echo(_text.table(rows))
