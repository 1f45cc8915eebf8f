"""`sprue pull URL:VERSION`: a published bundle into the store, or a part of it into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _bundle_trust, _machine, _options, _registry, _text
from sprue.errors import SprueError

if TYPE_CHECKING:
    from sprue.bundle.receive import Approve
    from sprue.registry.protocol import Registry
    from sprue.registry.pull import Found


@click.command("pull", epilog=_registry.URL_HELP)
@click.argument("reference", metavar="URL:VERSION|URL@sha256:DIGEST")
@_options.targets
@click.option(
    "--role", "roles", multiple=True, help="Only files of this role (model, artifact, ...); repeat."
)
@_machine.chooses
@click.option("--out", type=click.Path(path_type=Path), help="The folder for a part (default: name-version).")
@_options.store_option
@_options.as_json
@_bundle_trust.demands
def command(
    reference: str,
    only_targets: tuple[str, ...],
    roles: tuple[str, ...],
    wanted: _machine.Wanted,
    out: Path | None,
    store: Path | None,
    as_json: bool,
    demand: _bundle_trust.Demand,
) -> None:
    """Pull a published bundle into the store, verified; with --target or --role, a part into a folder.

    --for-this-machine is --target with the one whose contract holds here and asks the most of the machine.

    A pull that was stopped goes on where it stopped. Signatures are checked before anything is fetched.
    """
    from sprue.registry.protocol import split_reference
    from sprue.registry.pull import find

    url, ref = split_reference(reference)
    if ref is None:
        raise SprueError("no version", where=reference, remedy=f"write {reference}:VERSION")
    signed: list[dict[str, str]] = []
    with _registry.opened(url, bar=not as_json) as registry:
        found = find(registry, ref, signatures=True)
        chosen = wanted.select(found.manifest)
        if chosen is not None:
            only_targets = (*only_targets, chosen.best.id)
            if not as_json:
                _machine.say(chosen)

        def approve(folder: Path, _: object) -> None:
            signed.extend(demand.signed_by(folder, found.manifest))

        if only_targets or roles:
            said = _pull_part(registry, found, only_targets, roles, out, approve)
        elif out is not None:
            raise SprueError("--out is for a part", remedy="name it with --target or --role, or use --store")
        else:
            said = _pull_whole(registry, found, store, approve)
    facts = {"digest": f"sha256:{found.index.sha256}", "id": found.manifest.id(), "signatures": signed}
    if as_json:
        _options.print_json({**said, **facts})
        return
    word = click.style("pulled", fg="green") if said["new"] else "already there:"
    click.echo(f"{word} {said['what']}{_bundle_trust.said(signed)}\n  {said['folder']}\nid {facts['id']}")


def _pull_whole(
    registry: Registry, found: Found, store: Path | None, approve: Approve
) -> dict[str, str | bool]:
    from sprue.registry.pull import pull_bundle

    received = pull_bundle(registry, found, _options.open_store(store), approve)
    known = f"{found.manifest.name}@{found.manifest.version}"
    what = known if received.latest else f"{known}#{found.manifest.id()[:12]}"
    return {"what": what, "folder": str(received.folder), "new": received.new, "whole": True}


def _pull_part(
    registry: Registry,
    found: Found,
    targets: tuple[str, ...],
    roles: tuple[str, ...],
    out: Path | None,
    approve: Approve,
) -> dict[str, str | bool]:
    from sprue.registry.pull import pull_files, select

    manifest = found.manifest
    known = f"{manifest.name}-{manifest.version}"
    folder = out or Path("-".join((known, *targets)))
    files = select(manifest, targets, roles)
    new = pull_files(registry, found, files, folder, approve)
    size = _text.size(sum(f.size for f in files))
    what = f"{len(files)} of {len(manifest.files)} files of {known}, {size}"
    return {"what": what, "folder": str(folder), "new": new, "whole": False}
