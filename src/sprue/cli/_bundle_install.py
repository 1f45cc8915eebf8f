"""`sprue bundle install`: one target's artifact with its loader, into a folder to deploy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from sprue.cli import _bundle_trust, _machine, _options, _text

FindFolder = Callable[[str, Path | None], Path]


def register(group: click.Group, find_folder: FindFolder) -> None:
    """Add it to `sprue bundle`; `find_folder` turns BUNDLE and --store into a folder."""

    @group.command("install")
    @click.argument("bundle")
    @click.argument("folder", type=click.Path(path_type=Path))
    @click.option("--target", "-t", help="This target.")
    @_machine.chooses
    @_options.store_option
    @_options.as_json
    @_bundle_trust.demands
    def install_command(
        bundle: str,
        folder: Path,
        target: str | None,
        wanted: _machine.Wanted,
        store: Path | None,
        as_json: bool,
        demand: _bundle_trust.Demand,
    ) -> None:
        """Copy one target's artifact to FOLDER, which must be new: verified, and with its loader."""
        from sprue.bundle.check import read_bundle_manifest
        from sprue.bundle.install import install_target

        if (target is None) is not wanted.asked:
            raise click.UsageError("name one of --target and --for-this-machine")
        place = find_folder(bundle, store)
        manifest = read_bundle_manifest(place)
        signed = demand.signed_by(place, manifest)
        found = wanted.select(manifest)
        if found is not None:
            target = found.best.id
            if not as_json:
                _machine.say(found)
        files = install_target(place, str(target), folder)
        known = f"{manifest.name}@{manifest.version}"
        if as_json:
            refused = {} if found is None else {k: list(v) for k, v in found.refused.items()}
            said = {"bundle": known, "id": manifest.id(), "target": target, "folder": str(folder)}
            _options.print_json({**said, "refused": refused, "signatures": signed})
            return
        size = _text.size(sum(f.size for f in files))
        click.echo(f"installed {known} for {target}: {len(files)} files, {size}, in {folder}")
