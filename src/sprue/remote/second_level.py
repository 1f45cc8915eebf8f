"""Reading through a remote cache, and writing behind.

Nothing that it does or fails to do breaks a build. What it gives is used only if it is for exactly the key
that was asked for, is signed by the key that is trusted (if there is one), and every byte hashes to what was
signed. Everything has a time limit; after `PATIENCE` failures in a row no more is tried in this build.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal

from sprue.engine.cache import Cache, Corrupt, Entry
from sprue.engine.shared import Fetched
from sprue.registry.patience import Timed
from sprue.registry.protocol import Absent, Descriptor, Registry, Unreachable, Wrong
from sprue.registry.transfer import fetch
from sprue.remote.entries import OCTETS, read_entry, write_entry
from sprue.remote.record import Record, decode, encode
from sprue.remote.signing import Keys

PATIENCE = 3
UPLOADERS = 2
WAITING = 64
"""Entries that wait to be written; what more is made meanwhile waits too, up to `GRACE` seconds."""
GRACE = 15.0
SLOWEST = 1 << 18
"""Bytes a second; a transfer may take `GRACE` seconds and what its size needs at this rate."""
FLUSH = 300.0
"""Seconds that the end of a build waits for what is still to be written."""

Direction = Literal["read", "write"]


class SecondLevel:
    """A registry behind `cache`. Leaving its block waits for the uploads, unless it is left in haste."""

    def __init__(
        self, registry: Registry, cache: Cache, keys: Keys, *, write: bool, grace: float = GRACE
    ) -> None:
        self._registry = Timed(registry, grace, SLOWEST)
        self._cache = cache
        self._keys = keys
        self._grace = grace
        self._lock = threading.Lock()
        self._notes: list[str] = []
        self._failures: dict[Direction, int] = {"read": 0, "write": 0}
        self._off: set[Direction] = set()
        self._replace: set[str] = set()
        self._waiting: queue.Queue[Entry | None] = queue.Queue(WAITING)
        self._uploaders = [
            threading.Thread(target=self._upload, daemon=True) for _ in range(UPLOADERS * write)
        ]

    def __enter__(self) -> SecondLevel:
        for thread in self._uploaders:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = time.monotonic() + FLUSH
        if kind is not None:
            self._off.add("write")
            end = 0.0
        for _ in self._uploaders:
            try:
                self._waiting.put(None, timeout=max(0.0, end - time.monotonic()))
            except queue.Full:
                self._off.add("write")
        for thread in self._uploaders:
            thread.join(max(0.0, end - time.monotonic()))
        if kind is None and any(thread.is_alive() for thread in self._uploaders):
            self._note(f"not all was written within {FLUSH:.0f} s")
        self._registry.close()

    def notes(self) -> list[str]:
        """What has gone wrong since this was last asked."""
        with self._lock:
            said, self._notes = self._notes, []
        return said

    def fetch(self, key: str, parts: Mapping[str, str], made: Path) -> Fetched | None:
        """Lay out what another machine made for a key in the empty folder `made`. None: make it yourself."""
        if "read" in self._off:
            return None
        try:
            raw = read_entry(self._registry, key)
            record = None if raw is None else decode(raw, parts, self._keys)
            if record is not None:
                self._lay_out(record, made)
        except Unreachable as error:
            self._failed("read", f"cannot read from it: {error}")
        except (Wrong, Absent) as error:
            self._failed("read", f"its entry {key[:12]} is not used: {error}")
        except OSError as error:
            self._failed("read", f"cannot take in its entry {key[:12]}: {error.strerror}")
        else:
            self._failures["read"] = 0
            if record is not None:
                return Fetched({path: sha for path, (sha, _) in record.files.items()}, record.seconds)
        return None

    def offer(self, entry: Entry) -> None:
        """Have an entry of the cache written to the remote one, some time before the end of the block."""
        if self._uploaders and "write" not in self._off:
            try:
                self._waiting.put(entry, timeout=self._grace)
            except queue.Full:
                self._failed("write", "too slow to write to")

    def _lay_out(self, record: Record, made: Path) -> None:
        """All files of a record. Raises Wrong, Unreachable or OSError."""
        if record.size > shutil.disk_usage(made).free:
            raise Wrong(f"its {record.size} bytes do not fit on the disk")
        first: dict[str, Path] = {}
        for path, (sha, size) in record.files.items():
            place = made / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if sha in first:
                shutil.copyfile(first[sha], place)
            elif not self._take(sha, place):
                self._download(sha, size, place)
            first.setdefault(sha, place)

    def _take(self, sha: str, place: Path) -> bool:
        """Copy a blob that is here already, made by another action."""
        try:
            self._cache.take_file(sha, place)
        except Corrupt:
            return False
        return True

    def _download(self, sha: str, size: int, place: Path) -> None:
        try:
            fetch(self._registry, Descriptor(OCTETS, sha, size), place)
        except Absent:
            raise Wrong(f"it lacks the file {sha[:12]}") from None
        except Wrong:
            with self._lock:
                self._replace.add(sha)
            raise Wrong(f"the file {sha[:12]} is damaged") from None

    def _upload(self) -> None:
        """An uploader's life."""
        while (entry := self._waiting.get()) is not None:
            if "write" in self._off:
                continue
            try:
                self._write(entry)
                self._failures["write"] = 0
            except (Unreachable, Wrong, OSError, Corrupt) as error:
                self._failed("write", f"cannot write to it: {error}")

    def _write(self, entry: Entry) -> None:
        """Blobs first, the record last: whoever finds that finds all."""
        files = {path: (sha, self._cache.blob(sha).stat().st_size) for path, sha in entry.files.items()}
        sizes = dict(files.values())
        for sha, size in sizes.items():
            what = Descriptor(OCTETS, sha, size)
            if sha in self._replace or not self._registry.has(what):
                self._registry.put(what, self._cache.blob(sha))
        write_entry(
            self._registry, entry.key, encode(Record(entry.parts, files, entry.seconds), self._keys), sizes
        )

    def _failed(self, direction: Direction, what: str) -> None:
        with self._lock:
            self._failures[direction] += 1
            if direction in self._off:
                return
            self._notes.append(what)
            if self._failures[direction] >= PATIENCE:
                self._off.add(direction)
                given_up = {"read": "read from", "write": "written to"}[direction]
                self._notes.append(f"not {given_up} any more in this build, after {PATIENCE} failures")

    def _note(self, what: str) -> None:
        with self._lock:
            self._notes.append(what)
