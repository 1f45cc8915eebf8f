"""`sprue publish BUNDLE URL`: a bundle, with its signatures, to a registry."""

from __future__ import annotations

from pathlib import Path

import click

from sprue.cli import _options, _registry, _text


@click.command("publish", epilog=_registry.URL_HELP)
@click.argument("bundle")
@click.argument("url")
@_options.store_option
@_options.as_json
def command(bundle: str, url: str, store: Path | None, as_json: bool) -> None:
    """Publish BUNDLE (name@version, or the path of one) to the registry at URL, under its version.

    The same bundle again changes nothing; another one under a published version is refused.
    """
    from sprue.registry.publish import publish
    from sprue.trust.signature import envelopes

    folder = _options.bundle_folder(bundle, store)
    with _registry.opened(url, bar=not as_json) as registry:
        done = publish(folder, registry, envelopes(folder))
    manifest = done.manifest
    reference = f"{url}:{manifest.version}"
    if as_json:
        said = {"reference": reference, "digest": f"sha256:{done.index.sha256}", "id": manifest.id()}
        _options.print_json(said | {"new": done.new, "signatures": done.signatures})
        return
    size = _text.size(sum(f.size for f in manifest.files))
    word = click.style("published", fg="green") if done.new else "already there:"
    signed = f", {done.signatures} new signatures" if done.signatures else ""
    click.echo(f"{word} {reference} ({manifest.name}, {len(manifest.files)} files, {size}{signed})")
    click.echo(f"digest sha256:{done.index.sha256}\nid     {manifest.id()}")
