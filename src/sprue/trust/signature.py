"""The signatures of a bundle: files beside its folder, never in it, so that its id stays what it is.

<folder>/                                      the bundle
<folder>.<16 digits>.intoto.jsonl              one signed statement; the digits are of its sha256

The name is in-toto's for attestations that lie beside their subject. One file for each signature: to add one
changes no other, and two who sign at once do not meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprue.bundle.beside import SIGNATURE, digits, signature_files
from sprue.bundle.check import check_bundle
from sprue.bundle.manifest import Manifest
from sprue.canonical import canonical, digest, parse
from sprue.durable import write_file
from sprue.errors import CheckError
from sprue.trust import dsse
from sprue.trust.keys import PrivateKey, PublicKey
from sprue.trust.plain import read_plain
from sprue.trust.provenance import PAYLOAD_TYPE, builder_of, statement

RECIPE = "evidence/recipe.json"
MAX_RECIPE_BYTES = 2**20


@dataclass(frozen=True)
class Signed:
    """`key` signed the bundle, and said that `builder` built it."""

    key: PublicKey
    builder: str
    file: Path


def sign_bundle(
    folder: Path, key: PrivateKey, environment: Mapping[str, str], builder: str | None = None
) -> Path:
    """Check the whole bundle, then sign it. The same signature again is the same file.

    Raises CheckError for a damaged bundle, SprueError or OSError when nothing can be written beside it.
    """
    folder = folder.resolve()
    manifest = check_bundle(folder).manifest
    payload = canonical(statement(manifest, _recipe(folder, manifest), environment, builder))
    envelope = dsse.sign(PAYLOAD_TYPE, payload, key)
    if len(envelope) > dsse.MAX_ENVELOPE_BYTES:
        raise CheckError(
            f"what is to be signed names too many files: more than {dsse.MAX_ENVELOPE_BYTES} bytes, which no "
            "reader would take",
            where=str(folder),
        )
    path = folder.parent / f"{folder.name}.{digits(envelope)}{SIGNATURE}"
    write_file(path, envelope + b"\n")
    return path


def envelopes(folder: Path) -> list[bytes]:
    """Every signature beside the bundle, as bytes to send on. Raises CheckError for what is no envelope."""
    found = []
    for path in signature_files(folder):
        data = read_plain(path, dsse.MAX_ENVELOPE_BYTES, follow_links=False).rstrip(b"\n")
        dsse.read_envelope(data, str(path))
        found.append(data)
    return found


def signatures(folder: Path, manifest: Manifest, keys: Iterable[PublicKey]) -> list[Signed]:
    """Who of `keys` signed the bundle. Signatures of others are passed over unread.

    Raises CheckError for a file that is no envelope, for a signature that does not hold, and for one that
    holds and is about something else.
    """
    known, found = list(keys), []
    for path in signature_files(folder):
        envelope = dsse.read_envelope_file(path)
        made = dsse.signers(envelope, known, str(path))
        if made:  # what nobody known signed is not even parsed
            builder = builder_of(envelope.payload_type, envelope.payload, manifest, str(path))
            found += [Signed(key, builder, path) for key in made]
    return found


def require_keys(folder: Path, manifest: Manifest, keys: Iterable[PublicKey]) -> list[Signed]:
    """Raises CheckError unless every one of `keys` signed the bundle."""
    wanted = list(keys)
    found = signatures(folder, manifest, wanted)
    there = {signed.key.id for signed in found}
    for key in wanted:
        if key.id not in there:
            raise not_signed(folder, f"'{key.name}' ({key.id[:16]})")
    return found


def not_signed(folder: Path, by: str) -> CheckError:
    count = len(signature_files(folder))
    beside = "no signature lies beside it" if not count else f"none of {count} beside it is"
    return CheckError(
        f"not signed by {by}: {beside}", where=str(folder), remedy="sprue bundle sign BUNDLE --key NAME"
    )


def _recipe(folder: Path, manifest: Manifest) -> Any:
    """The effective recipe that the bundle carries; None if it carries none."""
    file = next((f for f in manifest.files if f.path == RECIPE), None)
    if file is None:
        return None
    if file.size > MAX_RECIPE_BYTES:
        raise CheckError(f"larger than {MAX_RECIPE_BYTES} bytes", where=str(folder / RECIPE))
    data = (folder / RECIPE).read_bytes()
    try:
        if digest(data) != file.sha256:
            raise ValueError("it changed since it was checked")
        return parse(data)
    except (ValueError, RecursionError) as error:
        raise CheckError(f"not a recipe: {error}", where=str(folder / RECIPE)) from error
