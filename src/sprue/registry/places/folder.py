"""A folder, or a share that is mounted as one.

<root>/blobs/sha256/<digest>     content, read-only (an OCI image layout's blobs lie like this)
<root>/refs/<ref>                what a ref means: canonical JSON {digest, mediaType, size}

Content is renamed into its place. A ref is linked into its place, which fails if there is one: whoever comes
first, on any machine that shares the folder, has it.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sprue.durable import locked, move_file, sync_folder
from sprue.errors import advice
from sprue.registry.documents import read_ref, ref_to_bytes
from sprue.registry.protocol import (
    ANYTHING,
    PIECE,
    UNKNOWN,
    Absent,
    Content,
    Descriptor,
    Registry,
    Stream,
    Taken,
    Unreachable,
    check_ref,
    proven,
)

SCHEMES = ("file",)
EXTRA = ""
MOST_REF = 4096
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Folder:
    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def has(self, what: Descriptor) -> bool:
        try:
            seen = self._blob(what).lstat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreachable(error) from error
        return stat.S_ISREG(seen.st_mode) and what.size in (UNKNOWN, seen.st_size)

    def put(self, what: Descriptor, content: Content) -> None:
        path = self._blob(what)
        with self._beside(path) as (handle, copy):
            for piece in proven(what, content):
                _write(handle, piece)
            os.fsync(handle)
            move_file(copy, path)
            sync_folder(path.parent)

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        path = self._blob(what)
        handle = self._open(path)
        if handle is None:
            raise Absent(f"there is no {what.short}", where=str(self._root))
        return _stream(handle, start)

    def resolve(self, ref: str) -> Descriptor | None:
        handle = self._open(self._root / "refs" / check_ref(ref))
        if handle is None:
            return None
        with os.fdopen(handle, "rb") as stream:
            return read_ref(stream.read(MOST_REF), f"the ref '{ref}' in {self._root}")

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        path = self._root / "refs" / check_ref(ref)
        with self._beside(path) as (handle, copy):
            _write(handle, ref_to_bytes(what))
            os.fsync(handle)
            os.fchmod(handle, 0o444)
            if not _link(copy, path):
                with locked(path.parent):
                    found = self.resolve(ref)
                    if found not in (None, what, instead_of) and instead_of != ANYTHING:
                        raise Taken(ref, found, str(self._root))
                    if found != what:
                        copy.replace(path)
            sync_folder(path.parent)

    def close(self) -> None:
        """There is nothing to let go."""

    def _blob(self, what: Descriptor) -> Path:
        return self._root / "blobs" / "sha256" / what.sha256

    def _open(self, path: Path) -> int | None:
        try:
            # Neither a link nor a pipe: the one may lead anywhere, the other would never open.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            self._need_parent()
            return None
        except OSError as error:
            raise _unreachable(error) from error
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
        raise Unreachable("it is no plain file", where=str(path))

    def _need_parent(self) -> None:
        """A repository may be new, what it lies in may not: a share that is not mounted is no empty one."""
        if not self._root.parent.is_dir():
            remedy = "mount it or make it first; a place on another machine is written scheme://host/path"
            raise Unreachable("there is no such folder", where=str(self._root.parent), remedy=remedy)

    @contextmanager
    def _beside(self, path: Path) -> Iterator[tuple[int, Path]]:
        """A new file in the folder of `path`, gone at the end of the block. OSError becomes Unreachable."""
        self._need_parent()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
            try:
                yield handle, Path(name)
            finally:
                os.close(handle)
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise _unreachable(error) from error


def connect(url: str) -> Registry:
    return Folder(Path(unquote(urlsplit(url).path) if "://" in url else url))


def _link(copy: Path, path: Path) -> bool:
    """Put `copy` at `path`; False if something is there. Without hard links the copy is made in place: a
    reader who comes in between sees a ref that cannot be read, never a wrong one."""
    try:
        os.link(copy, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
        except FileExistsError:
            return False
        try:
            _write(handle, copy.read_bytes())
            os.fsync(handle)
        finally:
            os.close(handle)
    return True


def _write(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def _stream(handle: int, start: int) -> Stream:
    with os.fdopen(handle, "rb") as stream:
        try:
            stream.seek(start)
            while piece := stream.read(PIECE):
                yield piece
        except OSError as error:
            raise _unreachable(error) from error


def _unreachable(error: OSError) -> Unreachable:
    where = str(error.filename or "")
    return Unreachable(error.strerror or str(error), where=where, remedy=advice(error))
