"""The blobs of a store: what several bundles hold lies on the disk once.

<store>/.blobs/<2 hex>/<sha256>, each a read-only file that bundles are hard-linked to, so that the number of
its links is the number of its users. Where a link cannot be made the bundle keeps its own copy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from sprue.bundle.hashing import hash_files

BLOBS = ".blobs"
HOUR = 3600
LINK = ":link"
"""What a new link is called until it is renamed: no manifest may name a file so."""
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES)
"""What a file system says that has no hard links, or no more of them for this file."""


def blob_path(store: Path, sha: str) -> Path:
    return store / BLOBS / sha[:2] / sha


def share(store: Path, folder: Path, files: Mapping[str, str]) -> None:
    """Link the files of a staged bundle to their blobs: relative paths -> sha256.

    A blob is hashed before anything is linked to it. One that is damaged, or not there, becomes this bundle's
    own file, which must be what its digest says. All files are read-only afterwards.
    """
    there = {sha: blob_path(store, sha) for sha in set(files.values())}
    hashed = hash_files(path for path in there.values() if path.exists())
    good = {path.name for path, seen in hashed.items() if isinstance(seen, tuple) and seen[1] == path.name}
    for path, sha in files.items():
        (folder / path).chmod(0o444)
        try:
            if sha not in good or not _take(there[sha], folder / path, folder):
                _give(folder / path, there[sha])
                good.add(sha)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise


def _take(blob: Path, path: Path, folder: Path) -> bool:
    """Put a link to `blob` in the place of `path`. False when a collection has removed it meanwhile."""
    beside = folder / LINK
    try:
        os.link(blob, beside, follow_symlinks=False)
    except FileNotFoundError:
        return False
    beside.replace(path)
    return True


def _give(path: Path, blob: Path) -> None:
    """Make `path` the blob, in the place of a damaged one."""
    blob.parent.mkdir(parents=True, exist_ok=True)
    beside = blob.with_name(f".new-{secrets.token_hex(8)}")
    try:
        os.link(path, beside, follow_symlinks=False)
        beside.replace(blob)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # rename does nothing when both are links to one file


def unused(store: Path) -> Iterator[tuple[Path, int]]:
    """The blobs that no bundle is linked to, with their sizes; and what a killed process left among them.

    One that is linked between this look and its removal stays with its bundle, and is only not shared on.
    """
    for path in sorted((store / BLOBS).glob("*/*")):
        with contextlib.suppress(FileNotFoundError):
            seen = path.lstat()
            alone = seen.st_nlink == 1
            if alone if not path.name.startswith(".") else seen.st_ctime < time.time() - HOUR:
                yield path, seen.st_size if alone else 0


def holders(path: Path, others: Mapping[str, Path]) -> list[str]:
    """Which of `others` (name -> file) are one file with `path`: links to the same blob."""
    found = []
    with contextlib.suppress(OSError):
        mine = path.lstat()
        for name, other in others.items():
            with contextlib.suppress(OSError):
                if os.path.samestat(mine, other.lstat()):
                    found.append(name)
    return found
