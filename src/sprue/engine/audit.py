"""Read a whole cache and hold every byte of it against its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sprue.canonical import file_digest
from sprue.durable import owned_folder
from sprue.engine.cache import Cache, Entry
from sprue.engine.collect import retire
from sprue.engine.contents import File, blobs, entries, read_entry
from sprue.engine.key import key

BATCH = 16
"""Blobs for one turn of a thread: small enough to share the work out, large enough to cost nothing."""


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
    there = {b.path.name for b in stored} - {p.name for p in bad}
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
    """The blobs that are not what their names say. Hashing lets other threads run."""
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(_bad_ones, _batches(sorted(stored, key=lambda b: -b.size))):
            yield from found


def _batches(stored: Iterable[File]) -> Iterator[list[Path]]:
    """The large ones alone and first, so that no thread is left with one at the end."""
    waiting = iter(stored)
    while batch := list(islice(waiting, BATCH)):
        if batch[0].size > 1 << 20:
            yield from ([b.path] for b in batch)
        else:
            yield [b.path for b in batch]


def _bad_ones(paths: list[Path]) -> list[Path]:
    return [p for p in paths if p.exists() and not _is_good(p, p.name)]


def _is_good(path: Path, sha: str = "") -> bool:
    """Whether a blob is what its name says."""
    try:
        return file_digest(path) == (sha or path.name)
    except FileNotFoundError:
        return True  # collected since it was listed
    except OSError:
        return False


def _entry(path: Path) -> Entry | None:
    """The entry in a file, if its key is that of its parts."""
    entry = read_entry(path)
    return entry if entry is not None and key(dict(entry.parts)) == entry.key else None


def _there(cache: Cache, sha: str) -> bool:
    """Whether a blob that was not listed, or was damaged, is there by now."""
    path = cache.folder / "blobs" / sha[:2] / sha
    return path.is_file() and _is_good(path)
