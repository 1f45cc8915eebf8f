"""`sprue bundle sign | bom`, and what `verify` asks about signatures: who stands behind a bundle."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sprue.cli import _options, _text
from sprue.errors import SprueError

if TYPE_CHECKING:
    from sprue.bundle.manifest import Manifest
    from sprue.trust.keys import PublicKey
    from sprue.trust.policy import Policy

Result = TypeVar("Result")
FindFolder = Callable[[str, Path | None], Path]


@dataclass(frozen=True)
class Demand:
    """What a bundle's signatures are held against; nothing, if there is nothing in it."""

    keys: tuple[PublicKey, ...]
    policy: Policy | None

    def signed_by(self, folder: Path, manifest: Manifest) -> list[dict[str, str]]:
        """The signatures that count, as JSON. Raises CheckError when one is wrong, or missing."""
        from sprue.trust.signature import require_keys

        found = require_keys(folder, manifest, self.keys) if self.keys else []
        if self.policy is not None:
            found += self.policy.require(folder, manifest)
        once = {(s.key.id, s.file): s for s in found}
        return [
            {"key": s.key.name, "id": s.key.id, "builder": s.builder, "file": str(s.file)}
            for s in once.values()
        ]


def _read(keys: tuple[str, ...], policy: Path | None, required: bool) -> Demand:
    """Mistakes in keys and policy are said before anything is hashed."""
    if required and not keys and policy is None:
        raise SprueError(
            "--require-signature: nothing says whose signature counts",
            remedy="add --policy FILE (or SPRUE_POLICY), or --key NAME.pub",
        )
    if not keys and policy is None:
        return Demand((), None)
    from sprue.trust.keys import find_public, keys_folder
    from sprue.trust.policy import read_policy

    place = keys_folder(None)
    return Demand(
        tuple(find_public(key, place) for key in keys), None if policy is None else read_policy(policy)
    )


def demands(run: Callable[..., Result]) -> Callable[..., Result]:
    """Adds --key, --policy and --require-signature to a command, which gets them as one `demand`."""

    @click.option("--key", "keys", multiple=True, metavar="NAME.pub|FILE", help="Must have signed; repeat.")
    @click.option(
        "--policy",
        type=click.Path(path_type=Path),
        envvar="SPRUE_POLICY",
        help="TOML file: which keys may sign which names.",
    )
    @click.option(
        "--require-signature", "required", is_flag=True, help="Refuse if nothing says who may sign."
    )
    @functools.wraps(run)
    def with_demand(
        *args: Any, keys: tuple[str, ...], policy: Path | None, required: bool, **others: Any
    ) -> Result:
        return run(*args, demand=_read(keys, policy, required), **others)

    return with_demand


def said(signed: Sequence[dict[str, str]]) -> str:
    """`, signed by ci (https://...)` for a line about a bundle."""
    by = ", ".join(dict.fromkeys(f"{s['key']} (built by {s['builder']})" for s in signed))
    return f", {click.style('signed', fg='green')} by {by}" if signed else ""


@dataclass(frozen=True)
class _Signer:
    """`key`: its id, "" where it has none. `sign`: signs the bundle in a folder, and returns the file."""

    name: str
    key: str
    sign: Callable[[Path], Path]


def _signer(key: str, builder_id: str | None) -> _Signer:
    from sprue.trust.keys import find_private, keys_folder
    from sprue.trust.signature import sign_bundle

    private = find_private(key, keys_folder(None))
    name, ident = private.public.name, private.public.id
    return _Signer(name, ident, lambda folder: sign_bundle(folder, private, os.environ, builder_id))


def _openssf_signer(key: str) -> _Signer:
    from sprue.trust.openssf import sign_model

    return _Signer(Path(key).name, "", lambda folder: sign_model(folder, Path(key)))


def register(group: click.Group, find_folder: FindFolder) -> None:
    """Add `sign` and `bom` to `sprue bundle`; `find_folder` turns BUNDLE and --store into a folder."""

    @group.command("sign")
    @click.argument("bundles", nargs=-1, required=True)
    @click.option("--key", required=True, metavar="NAME|FILE", help="The private key.")
    @click.option("--builder-id", metavar="URI", help="Who built it (default: what CI's environment says).")
    @click.option(
        "--openssf", is_flag=True, help="For OpenSSF model-signing instead; --key is a file, elliptic curve."
    )
    @_options.store_option
    @_options.as_json
    def sign(
        bundles: tuple[str, ...],
        key: str,
        builder_id: str | None,
        openssf: bool,
        store: Path | None,
        as_json: bool,
    ) -> None:
        """Check each bundle, and sign its provenance. BUNDLE is a name@version, or the path of a bundle.

        The signature lies beside the bundle: its id stays what it is.
        """
        if openssf and builder_id:
            raise click.UsageError("--openssf signs files: there is no place for --builder-id")
        signer = _openssf_signer(key) if openssf else _signer(key, builder_id)
        made = []
        for bundle in bundles:
            path = signer.sign(find_folder(bundle, store))
            made.append({"bundle": bundle, "key": signer.key, "file": str(path)})
            if not as_json:
                click.echo(f"{click.style('signed', fg='green')} {bundle} by {signer.name}: {path}")
        if as_json:
            _options.print_json(made)

    @group.command("bom")
    @click.argument("bundle")
    @click.option("--output", "-o", type=click.Path(path_type=Path), help="A file (default: print it).")
    @_options.store_option
    @_options.as_json
    def bom(bundle: str, output: Path | None, store: Path | None, as_json: bool) -> None:
        """Print a bundle's bill of materials: CycloneDX 1.6, always JSON."""
        from sprue.bundle.check import read_bundle_manifest
        from sprue.durable import write_file
        from sprue.trust.bom import bill_of_materials

        made = bill_of_materials(read_bundle_manifest(find_folder(bundle, store)))
        if output is None:
            click.echo(made, nl=False)
            return
        write_file(output, made)
        if as_json:
            _options.print_json({"bundle": bundle, "file": str(output), "bytes": len(made)})
        else:
            click.echo(f"wrote {output}, {_text.size(len(made))}")
