"""A folder, or a share that is mounted as one."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from sprue.durable import move_file
from sprue.remote.place import Stream, Unreachable


class Folder:
    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def has(self, name: str) -> bool:
        return (self._root / name).is_file()

    def get(self, name: str) -> Stream | None:
        try:
            # Neither a link nor a pipe: the one may lead anywhere, the other would never open.
            handle = os.open(self._root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            if self._root.is_dir():
                return None
            raise Unreachable(f"there is no folder {self._root}") from None
        except OSError as error:
            raise _unreachable(error) from error
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return _stream(handle)
        os.close(handle)
        raise Unreachable(f"{self._root / name} is no plain file")

    def put(self, name: str, file: Path) -> None:
        path = self._root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, copy = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
            os.close(handle)
            try:
                shutil.copyfile(file, copy)
                move_file(Path(copy), path)
            finally:
                Path(copy).unlink(missing_ok=True)
        except OSError as error:
            raise _unreachable(error) from error

    def close(self) -> None:
        """There is nothing to let go."""


def _stream(handle: int) -> Stream:
    with os.fdopen(handle, "rb") as stream:
        try:
            while chunk := stream.read(1 << 20):
                yield chunk
        except OSError as error:
            raise _unreachable(error) from error


def _unreachable(error: OSError) -> Unreachable:
    return Unreachable(f"{error.filename or 'the folder'}: {error.strerror}")
