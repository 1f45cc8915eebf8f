"""Read a whole cache and hold every byte of it against its name."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sprue.durable import owned_folder
from sprue.engine.cache import Cache, Entry
from sprue.engine.collect import retire
from sprue.engine.contents import File, blobs, entries, read_entry
from sprue.engine.key import key

ABSENT = "absent"
BUFFER = 1 << 20
"""Bytes read at once into the same memory: new memory for each file would cost a tenth of the rate."""


@dataclass(frozen=True)
class Audit:
    """What was read, and what is wrong with it.

    `damaged` and `damaged_entries` are files, `missing` maps an entry's name to the blobs that it lacks.
    `unreferenced`: good blobs of no entry, which a collection removes.
    """

    entries: int
    blobs: int
    size: int
    damaged: tuple[Path, ...]
    damaged_entries: tuple[Path, ...]
    missing: dict[str, tuple[str, ...]]
    unreferenced: int
    repaired: bool = False

    @property
    def ok(self) -> bool:
        """Nothing is wrong, or nothing any more."""
        return self.repaired or not (self.damaged or self.damaged_entries or self.missing)


def audit(cache: Cache, threads: int, *, repair: bool = False) -> Audit:
    """Hash every blob and read every entry, with `threads` at once. `repair`: remove what is damaged.

    What is removed is made again by the next build that needs it. Builds may run meanwhile.
    """
    stored = list(blobs(cache))
    bad = list(_damaged(stored, threads))
    if repair:
        with owned_folder(cache.folder / "work", "build-") as aside:
            for path in bad:
                retire(path, aside, _is_good)  # it may have been made anew since
    there = {b.name for b in stored} - {p.name for p in bad}
    referred: set[str] = set()
    missing: dict[str, tuple[str, ...]] = {}
    wrong = []
    count = 0
    for file in entries(cache):
        count += 1
        entry = _entry(file.path)
        if entry is None:
            wrong.append(file.path)
            continue
        shas = set(entry.files.values())
        referred |= shas
        lacking = sorted(s for s in shas - there if not _there(cache, s))
        if lacking:
            missing[f"{entry.name} ({entry.key[:12]})"] = tuple(lacking)
            if repair:
                cache.discard(entry.key)
    if repair:
        with owned_folder(cache.folder / "work", "build-") as aside:
            for path in wrong:
                retire(path, aside, lambda p: _entry(p) is not None)
    size = sum(b.size for b in stored)
    unreferenced = len(there - referred)
    return Audit(count, len(stored), size, tuple(bad), tuple(wrong), missing, unreferenced, repair)


def _damaged(stored: Iterable[File], threads: int) -> Iterator[Path]:
    """The blobs that are not what their names say. Large ones first, so that none is left alone."""
    waiting = deque(sorted(stored, key=lambda b: -b.size))
    with ThreadPoolExecutor(threads) as pool:
        for found in [pool.submit(_bad_ones, waiting) for _ in range(threads)]:
            yield from found.result()


def _bad_ones(waiting: deque[File]) -> list[Path]:
    """Take blobs until none is left; hashing lets other threads run."""
    buffer = memoryview(bytearray(BUFFER))
    bad = []
    with contextlib.suppress(IndexError):
        while True:
            blob = waiting.popleft()
            if _digest(blob.place, buffer) not in (blob.name, ABSENT):
                bad.append(blob.path)
    return bad


def _is_good(path: Path) -> bool:
    """Whether a blob is what its name says."""
    return _digest(str(path), memoryview(bytearray(BUFFER))) == path.name


def _digest(place: str, buffer: memoryview) -> str:
    """The sha256 of a file; ABSENT if it was collected since it was listed, "" if it cannot be read.

    Bare system calls: a stream object for each small file costs a thirtieth of the rate.
    """
    try:
        file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            seen = hashlib.sha256()
            while count := os.readv(file, [buffer]):
                seen.update(buffer[:count])
        finally:
            os.close(file)
    except FileNotFoundError:
        return ABSENT
    except OSError:
        return ""
    return seen.hexdigest()


def _entry(path: Path) -> Entry | None:
    """The entry in a file, if its key is that of its parts."""
    entry = read_entry(path)
    return entry if entry is not None and key(dict(entry.parts)) == entry.key else None


def _there(cache: Cache, sha: str) -> bool:
    """Whether a blob that was not listed, or was damaged, is there by now."""
    path = cache.folder / "blobs" / sha[:2] / sha
    return path.is_file() and _is_good(path)
