"""Files that are whole or not there: written beside, synced, renamed into place.

Folders likewise: made under a temporary name and renamed, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` atomically and durably; the file is read-only afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), 0o444)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes when it does not.

    Raises FileExistsError when `path` came into being meanwhile and is not empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
    try:
        yield made
        made.chmod(0o755)
        for folder, _, files in os.walk(made):
            for name in files:
                sync_file(Path(folder, name))
            sync_folder(Path(folder))
        made.rename(path)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        if path.is_dir():
            raise FileExistsError(f"{path} is already there") from error
        raise
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Make a rename in `path` durable. Systems without folder sync (Windows) skip it."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
