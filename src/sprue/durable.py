"""Files that are whole or not there, and folders that do not outlive their owner.

A file is written beside its place, synced, and renamed into it. A folder to work in is locked (flock) for as
long as its process lives, so that any later process can tell the folders of the dead and remove them: process
numbers would not do, as they mean nothing in another container that shares the disk.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"


def write_file(
    path: Path, data: bytes, *, scratch: Path | None = None, durable: bool = True, mode: int = 0o444
) -> None:
    """Put `data` at `path` atomically; by default the file is read-only afterwards.

    It is written in `scratch` first, a folder on the same file system (default: the one it goes to). Not
    `durable`: it may be empty or old after a power cut, which is enough for what is hashed when it is read
    and can be made again.
    """
    if scratch is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path, instead=scratch is None):
        handle, name = tempfile.mkstemp(prefix=".tmp-", dir=scratch or path.parent)
    try:
        with naming(path), os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), mode)
        _replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


@contextmanager
def naming(path: Path, *, instead: bool = False) -> Iterator[None]:
    """An OSError that names no file, as that of a full disk, names this one; or any, `instead`."""
    try:
        yield
    except OSError as error:
        error.filename = str(path) if instead else error.filename or str(path)
        raise


def move_file(source: Path, path: Path) -> None:
    """Move a file on the same file system to `path`, atomically, not durably; it is read-only afterwards."""
    source.chmod(0o444)
    _replace(source, path)


def _replace(source: Path | str, path: Path) -> None:
    """Rename; the folder is nearly always there, so it is made only when it turns out not to be."""
    try:
        os.replace(source, path)  # noqa: PTH105  # both may be plain strings
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, path)  # noqa: PTH105


@contextmanager
def owned_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder `<prefix><random>` below `parent`, locked and at the end of the block removed."""
    with owned_file(parent, prefix) as lock:
        folder = Path(str(lock).removesuffix(LOCK))
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def resumable_folder(folder: Path) -> Iterator[Path]:
    """`folder`, in which nobody else works meanwhile; removed if the block ends well, else kept for who tries
    again. `sweep` removes it, once nobody works in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(folder.name + LOCK)
    lock = _locked(path)
    try:
        folder.mkdir(exist_ok=True)
        yield folder
        shutil.rmtree(folder)
        path.unlink()
    finally:
        os.close(lock)


def _locked(path: Path) -> int:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)  # whoever held it has finished, and removed it


@contextmanager
def owned_file(parent: Path, prefix: str) -> Iterator[Path]:
    """A new empty file `<prefix><random>.lock` below `parent`, locked and at the end of the block removed."""
    parent.mkdir(parents=True, exist_ok=True)
    path, lock = _new_locked(parent, prefix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def sweep(parent: Path, prefix: str) -> list[Path]:
    """Remove what `owned_folder` and `owned_file` made and whose process is gone; the locks of the living."""
    living = []
    for path in parent.glob(f"{prefix}*{LOCK}"):
        try:
            lock = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        except OSError:
            living.append(path)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = path.with_name(path.name.removesuffix(LOCK))
            if folder.exists():
                shutil.rmtree(folder)
            path.unlink()
        except FileNotFoundError:
            pass
        except OSError:
            living.append(path)
        finally:
            os.close(lock)
    return living


def _new_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        lock, name = tempfile.mkstemp(prefix=prefix, suffix=LOCK, dir=parent)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(name).exists():  # else another process swept it before it was locked
            return Path(name), lock
        os.close(lock)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While the block runs, no other process is in such a block for `folder`."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make a folder and all in it durable, before it is renamed into its place."""
    for parent, _, files in os.walk(folder):
        for name in files:
            sync_file(Path(parent, name))
        sync_folder(Path(parent))


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
