"""What must hold for any bytes that a reader is given; for atheris, and for whatever else makes bytes.

Each property takes bytes and returns whether they were accepted; it raises AssertionError when it does not
hold, and lets through whatever a reader should not have raised.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from sprue.bundle.archive import export_bundle
from sprue.bundle.manifest import read_manifest
from sprue.bundle.receive import import_archive
from sprue.bundle.store import Store
from sprue.canonical import digest
from sprue.errors import CheckError
from sprue.trust.dsse import read_envelope

MEMORY = Path("/dev/shm")
"""An archive is written to the disk; here that may be memory."""


def manifest(data: bytes) -> bool:
    """A manifest is refused, or it is exactly what `to_bytes` writes, under the id of these bytes."""
    try:
        made = read_manifest(data, "fuzz")
    except CheckError:
        return False
    assert made.to_bytes() == data
    assert made.id() == digest(data)
    return True


def archive(data: bytes) -> bool:
    """An archive is refused and nothing is left of it, or its bundle is one that exports to these bytes."""
    place = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        store = Store(place / "store")
        try:
            received = import_archive(io.BytesIO(data), store, "fuzz")
        except CheckError:
            assert [p for p in place.rglob("*") if p.is_file()] == []
            return False
        store.check(store.bundles()[0])
        out = io.BytesIO()
        seconds = int(data[136:147], 8)  # ustar's mtime, of the first member
        export_bundle(received.folder, out, seconds, signatures=True)
        assert out.getvalue() == data
        return True
    finally:
        shutil.rmtree(place)


def envelope(data: bytes) -> bool:
    """A signature file is refused, or it is an envelope; nothing else comes of it."""
    try:
        made = read_envelope(data, "fuzz")
    except CheckError:
        return False
    assert made.signatures
    return True


PROPERTIES: dict[str, Callable[[bytes], bool]] = {
    "manifest": manifest,
    "archive": archive,
    "envelope": envelope,
}
