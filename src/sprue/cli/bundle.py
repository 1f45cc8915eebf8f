"""`sprue bundle list | show | verify | sign | bom`: what lies in the local store."""

from __future__ import annotations

from pathlib import Path

import click

from sprue.cli import (
    _bundle_archive,
    _bundle_diff,
    _bundle_install,
    _bundle_rebuild,
    _bundle_store,
    _bundle_trust,
    _options,
    _text,
)


@click.group("bundle")
def command() -> None:
    """List, compare, verify, tag and move frozen bundles.

    BUNDLE is name, name@version, name:tag, any of them with #ID, or the path of a bundle's folder.
    """


@command.command("list")
@_options.store_option
@_options.as_json
def list_bundles(store: Path | None, as_json: bool) -> None:
    """List the bundles in the store."""
    found = _options.open_store(store).bundles()
    if as_json:
        keys = ("name", "version")
        _options.print_json(
            [
                {k: getattr(s.manifest, k) for k in keys}
                | {"id": s.id, "latest": s.latest, "folder": str(s.folder)}
                for s in found
            ]
        )
        return
    if not found:
        click.echo("no bundles; `sprue build recipes/NAME.toml` makes one")
        return
    rows = [("bundle", "id", "targets", "size", "created")]
    for s in found:
        targets = ", ".join(f"{t.id} ({t.state})" for t in s.manifest.targets)
        total = _text.size(sum(f.size for f in s.manifest.files))
        name = f"{s.manifest.name}@{s.manifest.version}"
        rows.append(
            (
                name if s.latest else f"{name}#{s.id[:12]}",
                s.id[:12],
                targets,
                total,
                s.manifest.createdAt or "",
            )
        )
    click.echo(_text.table(rows, right=(3,)))


@command.command("show")
@click.argument("bundle")
@_options.store_option
@_options.as_json
def show_bundle(bundle: str, store: Path | None, as_json: bool) -> None:
    """Show what a bundle says of itself."""
    from sprue.bundle.check import read_bundle_manifest

    folder = _options.bundle_folder(bundle, store)
    manifest = read_bundle_manifest(folder)
    if as_json:
        _options.print_json({"id": manifest.id(), **manifest.model_dump(mode="json", by_alias=True)})
        return
    click.echo(f"{manifest.name}@{manifest.version}")
    facts = {
        "id": manifest.id(),
        "folder": str(folder),
        "created": manifest.createdAt or "unknown (no checkout, no SOURCE_DATE_EPOCH)",
        "source": f"{manifest.source.digest[:12]}, revision {manifest.source.revision or 'unknown'}",
        "recipe": manifest.recipe[:12],
        "licenses": ", ".join(manifest.licenses) or "none stated",
        "toolchain": ", ".join(f"{k} {v}" for k, v in manifest.toolchain.items()),
    }
    for key, value in facts.items():
        click.echo(f"  {key + ':':11}{value}")
    rows = [("target", "variant", "state", "metric", "entry")]
    for t in manifest.targets:
        metric = ", ".join(f"{k} {v:.4f}" for k, v in manifest.metrics.get(t.id, {}).items())
        rows.append((t.id, t.variant, _text.state(t.state), metric, t.entry))
    click.echo("\n" + _text.table(rows))
    files = [("file", "size", "sha256")] + [
        (f.path, _text.size(f.size), f.sha256[:12]) for f in manifest.files
    ]
    click.echo("\n" + _text.table(files, right=(1,)))


@command.command("verify")
@click.argument("bundles", nargs=-1, required=True)
@_options.store_option
@_options.as_json
@_bundle_trust.demands
def verify_bundle(
    bundles: tuple[str, ...], store: Path | None, as_json: bool, demand: _bundle_trust.Demand
) -> None:
    """Hash every file of each bundle, and check its signatures if a key or a policy is given.

    BUNDLE is a name@version, or the path of a bundle.
    """
    from sprue.bundle.store import check_shared

    proofs = []
    for bundle in bundles:
        folder = _options.bundle_folder(bundle, store)
        proof = check_shared(folder)
        signed = demand.signed_by(folder, proof.manifest)
        facts = {"bundle": bundle, "id": proof.id, "files": proof.files, "bytes": proof.size}
        proofs.append({**facts, "signatures": signed})
        if not as_json:
            said = f"{bundle}: {proof.files} files, {_text.size(proof.size)}, id {proof.id}"
            click.echo(f"{click.style('verified', fg='green')} {said}{_bundle_trust.said(signed)}")
    if as_json:
        _options.print_json(proofs)


_bundle_trust.register(command, _options.bundle_folder)
_bundle_archive.register(command, _options.bundle_folder)
_bundle_diff.register(command, _options.bundle_folder)
_bundle_install.register(command, _options.bundle_folder)
_bundle_rebuild.register(command, _options.bundle_folder)
_bundle_store.register(command)
