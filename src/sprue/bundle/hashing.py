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
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

BUFFER = 1 << 20
"""Bytes read at once into the same memory: new memory for each file would cost a tenth of the rate."""

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
    count = min(threads or min(_cores(), MANY), len(waiting))
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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


class Pump:
    """Copies streams and hashes what it copies: one thread hashes a buffer while another writes the same."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._buffer = memoryview(bytearray(4 * BUFFER))

    def copy(
        self, read_into: Callable[[memoryview], int], write: Callable[[memoryview], object], size: int
    ) -> tuple[int, str]:
        """Copy up to `size` bytes. Returns how many there were, and their sha256."""
        seen = hashlib.sha256()
        copied = 0
        while copied < size:
            count = read_into(self._buffer[: min(len(self._buffer), size - copied)])
            if not count:
                break
            part = self._buffer[:count]
            if count < BUFFER:  # handing over costs more than hashing
                seen.update(part)
                write(part)
            else:
                hashed = self._pool.submit(seen.update, part)
                try:
                    write(part)
                finally:
                    hashed.result()
            copied += count
        return copied, seen.hexdigest()

    def __enter__(self) -> Pump:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
