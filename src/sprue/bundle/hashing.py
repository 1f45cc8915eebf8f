"""Hashing files at the speed of sha256: many at once, and while they are copied.

hashlib lets other threads run while it hashes, so threads are enough: no process is started.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from sprue.machine import cores

if TYPE_CHECKING:
    from hashlib import _Hash

BUFFER = 1 << 20
"""Bytes read at once into the same memory: new memory for each file would cost a tenth of the rate."""

PART = 1 << 18
DEPTH = 16
"""Bytes of a buffer of a pump, and how many it has."""

MANY = 8
"""No more threads than this: a disk that feeds eight is not waiting for us."""


def hash_files(paths: Iterable[Path], threads: int | None = None) -> dict[Path, tuple[int, str] | OSError]:
    """Size and sha256 of each file, or why it could not be read. Links are not followed.

    `threads`: default one for each core that this process may use.
    """
    sized = sorted(
        ((_size(p), p) for p in paths), key=lambda s: -s[0]
    )  # large ones first: none is left alone
    waiting = deque(path for _, path in sized)
    count = min(threads or min(cores(), MANY), len(waiting))
    found: dict[Path, tuple[int, str] | OSError] = {}
    if count < 2 or sum(size for size, _ in sized) < 4 * BUFFER:
        _drain(waiting, found)
        return found
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(_drain, waiting, found) for _ in range(count)]:
            done.result()
    return found


def open_plain(path: Path) -> FileIO:
    """Open a file to read. Raises OSError for links and special files, without waiting for any."""
    stream = FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return stream


def _drain(waiting: deque[Path], found: dict[Path, tuple[int, str] | OSError]) -> None:
    buffer = memoryview(bytearray(BUFFER))
    while True:
        try:
            path = waiting.popleft()
        except IndexError:
            return
        seen = hashlib.sha256()
        try:
            with open_plain(path) as stream:
                size = 0
                while count := stream.readinto(buffer):
                    seen.update(buffer[:count])
                    size += count
            found[path] = size, seen.hexdigest()
        except OSError as error:
            found[path] = error


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


@dataclass(frozen=True)
class Copied:
    """What was copied: its size, and its sha256 once that is known."""

    size: int
    sha256: Future[str]


class Pump:
    """Copies streams and hashes what it copies: a thread hashes the very buffers that were written.

    It follows behind by up to DEPTH buffers and its results come later, so that neither side waits for the
    other at each buffer, which on a busy machine costs more than the hashing.
    """

    def __init__(self) -> None:
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(DEPTH):
            self._free.put(memoryview(bytearray(PART)))
        self._work: SimpleQueue[tuple[_Hash, memoryview, int] | tuple[_Hash, Future[str]] | None] = (
            SimpleQueue()
        )
        self._thread = Thread(target=self._hash)
        self._thread.start()

    def copy(
        self, read_into: Callable[[memoryview], int], write: Callable[[memoryview], object], size: int
    ) -> Copied:
        """Copy up to `size` bytes; there may be fewer."""
        seen = hashlib.sha256()
        copied = 0
        while copied < size:
            buffer = self._free.get()
            count = read_into(buffer[: min(PART, size - copied)])
            if not count:
                self._free.put(buffer)
                break
            try:
                write(buffer[:count])
            finally:
                self._work.put((seen, buffer, count))
            copied += count
        result: Future[str] = Future()
        self._work.put((seen, result))
        return Copied(copied, result)

    def _hash(self) -> None:
        while (task := self._work.get()) is not None:
            if len(task) == 2:
                seen, result = task
                result.set_result(seen.hexdigest())
            else:
                seen, buffer, count = task
                seen.update(buffer[:count])
                self._free.put(buffer)

    def __enter__(self) -> Pump:
        return self

    def __exit__(self, *_: object) -> None:
        self._work.put(None)
        self._thread.join()
