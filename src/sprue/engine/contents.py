"""What lies in a cache: a walk over its files, with their sizes and the times of their last use."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sprue.durable import sweep
from sprue.engine.cache import Cache, Entry, decoded

HINTS = ("settled", "reports", "logs", "aside")
"""Folders of files that stand for themselves: losing one costs time, or a log."""


class File(NamedTuple):
    """`changed`: nanoseconds of the epoch. A tuple of strings and numbers: there are a great many."""

    place: str
    name: str
    size: int
    changed: int

    @property
    def path(self) -> Path:
        return Path(self.place)


@dataclass(frozen=True)
class Kind:
    """The entries of one action's function. `size` counts a blob once for each entry that refers to it."""

    entries: int = 0
    size: int = 0


@dataclass(frozen=True)
class Stats:
    """Sizes in bytes, times in nanoseconds of the epoch (None: no entries)."""

    entries: int
    blobs: int
    size: int
    unreadable: int
    kinds: dict[str, Kind]
    oldest_use: int | None
    newest_use: int | None
    hints: dict[str, Kind] = field(default_factory=dict)
    work_folders: int = 0
    live_builds: int = 0


def stats(cache: Cache) -> Stats:
    """Count what lies in the cache. `size` is of all its files but those in work folders."""
    sizes = {blob.name: blob.size for blob in blobs(cache)}
    kinds: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    uses = []
    entry_size = unreadable = 0
    for file in entries(cache):
        entry_size += file.size
        uses.append(file.changed)
        entry = read_entry(file.path)
        if entry is None:
            unreadable += 1
            continue
        kind = entry.parts.get("function", "unknown")
        kinds[kind] += 1
        weights[kind] += file.size + sum(sizes.get(sha, 0) for sha in set(entry.files.values()))
    hints = {name: list(files(cache.folder / name)) for name in HINTS}
    hint_sizes = {name: Kind(len(found), sum(f.size for f in found)) for name, found in hints.items()}
    last = last_size(cache)
    hint_sizes["last"] = Kind(int(last > 0), last)
    work = cache.folder / "work"
    return Stats(
        entries=len(uses),
        blobs=len(sizes),
        size=sum(sizes.values()) + entry_size + sum(k.size for k in hint_sizes.values()),
        unreadable=unreadable,
        kinds={name: Kind(count, weights[name]) for name, count in sorted(kinds.items())},
        oldest_use=min(uses, default=None),
        newest_use=max(uses, default=None),
        hints=hint_sizes,
        work_folders=sum(p.is_dir() for p in work.iterdir()) if work.is_dir() else 0,
        live_builds=len(sweep(cache.folder / "builds", "build-")),
    )


def entries(cache: Cache) -> Iterator[File]:
    return (f for f in files(cache.folder / "actions") if f.name.endswith(".json"))


def blobs(cache: Cache) -> Iterator[File]:
    return (f for f in files(cache.folder / "blobs") if len(f.name) == 64)


def last_size(cache: Cache) -> int:
    """Bytes of the file of last keys; 0 if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return (cache.folder / "last").stat().st_size
    return 0


def read_entry(path: Path) -> Entry | None:
    """The entry in a file, its blobs not looked at. None when it is damaged or gone."""
    try:
        return decoded(path.read_bytes(), path.stem)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def files(folder: Path) -> Iterator[File]:
    """The files below `folder`, in no order; what vanishes meanwhile is left out."""
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                there = list(found)
        except FileNotFoundError:
            continue
        for entry in there:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    seen = entry.stat(follow_symlinks=False)
                    yield File(entry.path, entry.name, seen.st_size, seen.st_mtime_ns)
