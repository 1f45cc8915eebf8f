"""Entries of a cache in a folder registry, found, damaged and replaced."""

from __future__ import annotations

from pathlib import Path

from sprue.canonical import canonical, parse
from sprue.registry.places.folder import Folder
from sprue.registry.protocol import ANYTHING, describe
from sprue.remote.entries import RECORD


def entry(remote: Path, function: str = "make") -> Path:
    """The ref of the action with that function."""
    return next(
        p for p in remote.glob("refs/action-*") if f"remote_actions:{function}" in raw_record(remote, p)
    )


def raw_record(remote: Path, ref: Path) -> str:
    return str(parse(blob_of(remote, ref).read_bytes())["annotations"][RECORD])


def blob_of(remote: Path, ref: Path) -> Path:
    """The manifest that a ref means."""
    return remote / "blobs" / "sha256" / str(parse(ref.read_bytes())["digest"]).removeprefix("sha256:")


def largest(remote: Path) -> Path:
    return max(remote.glob("blobs/sha256/*"), key=lambda p: p.stat().st_size)


def replace_record(remote: Path, ref: Path, record: str) -> None:
    """As whoever may write to the registry can."""
    manifest = parse(blob_of(remote, ref).read_bytes())
    manifest["annotations"][RECORD] = record
    data, registry = canonical(manifest), Folder(remote)
    what = describe(manifest["mediaType"], data)
    registry.put(what, data)
    registry.commit(ref.name, what, instead_of=ANYTHING)


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
