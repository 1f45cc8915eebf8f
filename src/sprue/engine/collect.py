"""Make a cache smaller: the least recently used goes first, and nothing that a running build uses.

    decide      entries and hints, the latest used first, while they and their blobs fit; all of the rest goes
    entries     each is set aside, looked at again, and removed if nobody has used it meanwhile
    blobs       those that no entry refers to any more, in the same way
    last keys   their file is written anew, without those of entries that are gone

A build notes a use by an entry's time of change, after it has read it, and takes an entry as absent if it
cannot. So whoever comes first, entry and build agree: either the note is seen here and the entry put back, or
the build finds no entry. The same holds for blobs, which are noted before they are looked at.
docs/cache.md has the whole argument.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sprue.durable import owned_folder, sweep
from sprue.engine.cache import HOUR, Cache
from sprue.engine.contents import HINTS, File, blobs, entries, files, last_size, read_entry
from sprue.errors import SprueError

GRAIN = 2 * 10**9
"""Nanoseconds by which file systems and their servers may disagree on the time."""


@dataclass(frozen=True)
class Collected:
    """What was removed (or would be), and what stays; bytes. `protected`: entries that live builds use."""

    entries: int
    blobs: int
    hints: int
    leftovers: int
    freed: int
    size: int
    protected: int


@dataclass(frozen=True)
class _Item:
    """An entry with the blobs that it refers to, or a hint, which has none."""

    file: File
    blobs: frozenset[str] = frozenset()


@dataclass
class _Choice:
    kept: list[_Item] = field(default_factory=list)
    gone: list[_Item] = field(default_factory=list)
    protected: int = 0


@dataclass(frozen=True)
class _Window:
    """The times of use that protect: since the oldest live build began, and not beyond all clocks."""

    since: int
    until: int

    def __contains__(self, changed: int) -> bool:
        return self.since <= changed <= self.until


def collect(cache: Cache, keep: int, *, older_than: float = 0.0, dry_run: bool = False) -> Collected:
    """Remove what was used longest ago until at most `keep` bytes are left.

    Only what was last used more than `older_than` seconds ago. What running builds use or have written stays
    even if that is more than `keep`. Raises SprueError when another collection runs, or for lack of rights.
    """
    try:
        with _only_one(cache) as now:
            return _collect(cache, keep, now - int(older_than * 1e9), _window(cache.folder, now), dry_run)
    except OSError as error:
        where = str(error.filename or cache.folder)
        raise SprueError(f"cannot collect: {error.strerror}", where=where) from error


def _collect(cache: Cache, keep: int, before: int, window: _Window, dry_run: bool) -> Collected:
    stored = {b.name: b for b in blobs(cache)}
    items = {i.file.place: i for i in _items(cache, {})}
    room = keep - len(cache.condensed_last(_keys(items.values())))
    choice = _decide(items.values(), {name: b.size for name, b in stored.items()}, room, before, window)
    last = last_size(cache)
    if dry_run:
        removed, dead = [i.file for i in choice.gone], _unreferenced(stored, choice.kept, window)
        lasts = last, len(cache.condensed_last(_keys(choice.kept)))
        return _said(removed, dead, 0, items.values(), stored.values(), choice.protected, lasts)
    used = _used(window)
    work = len(_work_folders(cache.folder))
    cache.sweep()
    leftovers = work - len(_work_folders(cache.folder))
    with owned_folder(cache.folder / "work", "build-") as aside:
        removed = [i.file for i in choice.gone if retire(i.file.path, aside, used)]
        left = list(_items(cache, items))  # with those made meanwhile
        dead = [b for b in _unreferenced(stored, left, window) if retire(b.path, aside, used)]
        leftovers += sum(retire(f.path, aside, used) for f in _temporary(cache.folder))
        lasts = last, _rewrite_last(cache, _keys(left), aside)
    return _said(removed, dead, leftovers, items.values(), stored.values(), choice.protected, lasts)


def _keys(items: Iterable[_Item]) -> set[str]:
    """Those of the entries. (Hints have other names, which are no keys.)"""
    return {i.file.name.removesuffix(".json") for i in items}


def _rewrite_last(cache: Cache, keys: set[str], aside: Path) -> int:
    """Write the file of last keys anew; its size. What builds add at this moment may be lost."""
    said = cache.condensed_last(keys)
    if last_size(cache) != len(said):
        (aside / "last").write_bytes(said)
        (aside / "last").replace(cache.folder / "last")
    return len(said)


def retire(path: Path, aside: Path, wanted: Callable[[Path], bool]) -> bool:
    """Remove a file, unless it is `wanted` when looked at where nobody else finds it.

    Moved away first, so that what others do to it happens before the look, or fails. Put back beside whoever
    has made it anew meanwhile: what they made is as good.
    """
    hidden = aside / path.name
    try:
        path.rename(hidden)
    except FileNotFoundError:
        return False
    back = wanted(hidden)
    if back:
        try:
            path.hardlink_to(hidden)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            hidden.rename(path)
            return False
    hidden.unlink()
    return not back


@contextmanager
def _only_one(cache: Cache) -> Iterator[int]:
    """Two at once would count each other's work. Gives the time, by the clock that stamps files."""
    path = cache.folder / "builds" / "collecting"
    path.parent.mkdir(exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.utime(path)
        yield path.stat().st_mtime_ns
    except BlockingIOError as error:
        raise SprueError("another collection of this cache is running", where=str(cache.folder)) from error
    finally:
        os.close(lock)


def _window(folder: Path, now: int) -> _Window:
    begun = [now]
    for lease in sweep(folder / "builds", "build-"):
        with contextlib.suppress(FileNotFoundError):
            begun.append(lease.stat().st_mtime_ns)
    return _Window(min(begun) - GRAIN, max(begun) + HOUR)


def _used(window: _Window) -> Callable[[Path], bool]:
    return lambda path: path.stat().st_mtime_ns in window


def _items(cache: Cache, known: Mapping[str, _Item]) -> Iterator[_Item]:
    """Everything that is kept or goes as a whole. A damaged entry keeps no blob. `known` are not read."""
    for file in entries(cache):
        if file.place in known and known[file.place].file == file:
            yield known[file.place]
            continue
        entry = read_entry(file.path)
        yield _Item(file, frozenset(entry.files.values()) if entry is not None else frozenset())
    for name in HINTS:
        yield from (_Item(f) for f in files(cache.folder / name) if not f.name.startswith("."))


def _decide(
    items: Iterable[_Item], sizes: dict[str, int], keep: int, before: int, window: _Window
) -> _Choice:
    """Protected or recent items stay. Of the others, once one does not fit, neither does any older one."""
    choice = _Choice()
    counted: set[str] = set()
    total = 0
    full = False
    for item in sorted(items, key=lambda i: _rank(i.file.changed, window), reverse=True):
        fresh = item.blobs - counted
        cost = item.file.size + sum(sizes.get(sha, 0) for sha in fresh)
        protected = item.file.changed in window
        choice.protected += protected and bool(item.blobs)
        full = full or total + cost > keep
        if protected or not full or before < item.file.changed <= window.until:
            choice.kept.append(item)
            counted |= fresh
            total += cost
        else:
            choice.gone.append(item)
    return choice


def _rank(changed: int, window: _Window) -> int:
    """For the order of use. A time in the future is a clock's mistake, and says nothing."""
    return changed if changed <= window.until else 0


def _unreferenced(stored: Mapping[str, File], items: Iterable[_Item], window: _Window) -> list[File]:
    """The blobs of no item, but for those that a running build may be about to refer to."""
    alive = frozenset[str]().union(*(i.blobs for i in items))
    return [b for name, b in stored.items() if name not in alive and b.changed not in window]


def _work_folders(folder: Path) -> list[Path]:
    return [p for p in (folder / "work").glob("build-*") if p.is_dir()]


def _temporary(folder: Path) -> Iterator[File]:
    """What writers that were killed have left: files under temporary names."""
    for name in ("blobs", "actions", *HINTS):
        yield from (f for f in files(folder / name) if f.name.startswith("."))


def _said(
    removed: list[File],
    dead: list[File],
    leftovers: int,
    items: Iterable[_Item],
    stored: Iterable[File],
    protected: int,
    lasts: tuple[int, int],
) -> Collected:
    """`lasts`: the size of the file of last keys, before and after."""
    before = sum(i.file.size for i in items) + sum(b.size for b in stored) + lasts[0]
    freed = sum(f.size for f in [*removed, *dead]) + lasts[0] - lasts[1]
    made = sum(f.path.parent.parent.name == "actions" for f in removed)
    hints = len(removed) - made
    return Collected(made, len(dead), hints, leftovers, freed, before - freed, protected)
