"""Proving a bundle: every file is what the manifest says, and nothing else is there."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sprue.bundle.hashing import hash_files
from sprue.bundle.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MEASUREMENTS,
    OUTSIDE,
    SUMS,
    Manifest,
    read_manifest,
    sums,
)
from sprue.errors import CheckError

MAX_SUMS_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Proof:
    """What was checked: the id, the files, and their bytes."""

    manifest: Manifest
    id: str
    files: int
    size: int


class Damaged(CheckError):
    """A bundle is not what its manifest says. `files`: those whose bytes are others."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "", files: Sequence[str] = ()) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.files = tuple(files)


def check_bundle(folder: Path, expected_id: str | None = None, *, threads: int | None = None) -> Proof:
    """Hash every file of the bundle in `folder`, with `threads` (default: one for each core).

    Raises CheckError that names what is wrong, all of it.
    """
    manifest = read_bundle_manifest(folder)
    found = _found(folder)
    wrong = []
    named = {f.path: f for f in manifest.files}
    written = read_sums(folder)
    measured = sum_of_measurements(written)
    expected = {path: file.sha256 for path, file in named.items()} | {MANIFEST: manifest.id()}
    if measured is not None or MEASUREMENTS in found:
        expected[MEASUREMENTS] = measured or ""
    if expected_id is not None and manifest.id() != expected_id:
        wrong.append(f"its id is {manifest.id()}, not {expected_id}")
    if written != sums(manifest, measured):
        wrong.append(f"{SUMS} does not agree with the manifest")
    wrong += [f"{path} is missing" for path in sorted(expected.keys() - found)]
    wrong += [f"{path} is not in the manifest" for path in sorted(found - expected.keys() - set(OUTSIDE))]
    total = 0
    damaged = []
    hashed = hash_files((folder / path for path in expected.keys() & found), threads)
    for path in sorted(expected.keys() & found):
        seen = hashed[folder / path]
        if isinstance(seen, OSError):
            wrong.append(f"{path} cannot be read ({seen.strerror})")
            continue
        size, sha = seen
        total += size
        if sha != expected[path] or (path in named and size != named[path].size):
            wrong.append(f"{path} is damaged")
            damaged.append(path)
    if wrong:
        raise Damaged(
            "; ".join(wrong[:10]) + (f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""),
            where=str(folder),
            remedy="build it again, or fetch it again from where it was published",
            files=damaged,
        )
    return Proof(manifest, manifest.id(), len(expected), total)


def read_bundle_manifest(folder: Path) -> Manifest:
    """The manifest alone, checked for form only. Raises CheckError."""
    path = folder / MANIFEST
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise CheckError(f"{MANIFEST} is not a plain file", where=str(folder))
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise CheckError(f"not a bundle: {error.strerror}", where=str(path)) from error
    return read_manifest(data, str(path))


def _found(folder: Path) -> set[str]:
    """Every file below `folder`. Raises CheckError for links and special files: none is followed."""
    found = set()
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        for name in [*folders, *files]:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise CheckError(f"{relative} is not a plain file", where=str(folder))
            if path.is_file():
                found.add(relative)
    return found


def _unreadable(error: OSError) -> None:
    raise CheckError(f"cannot read it: {error.strerror}", where=str(error.filename)) from error


def read_sums(folder: Path) -> bytes:
    path = folder / SUMS
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_SUMS_BYTES + 1)
    except OSError as error:
        raise CheckError(f"cannot read it: {error.strerror}", where=str(path)) from error


def sum_of_measurements(written: bytes) -> str | None:
    """The sha256 that SHA256SUMS gives for the measurements, which the manifest does not name."""
    match = re.search(rb"^([0-9a-f]{64})  " + re.escape(MEASUREMENTS.encode()) + rb"$", written, re.MULTILINE)
    return match[1].decode() if match is not None else None
