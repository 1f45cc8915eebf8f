"""Files to and from a registry: hashed while they move, several at once, and told of.

A file that is being fetched has `:part` behind its name, which no manifest may use. What is there of it from
an earlier attempt is hashed and kept; it gets its name when its digest and its length are right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from sprue.durable import naming
from sprue.registry.protocol import MOST_JSON, UNKNOWN, Content, Descriptor, Registry, Stream, Wrong, pieces

if TYPE_CHECKING:
    from hashlib import _Hash

PART = ":part"
AT_ONCE = 4
"""Transfers at once: enough to hide a registry's answers, few enough for its disk and our memory."""

Listener = Callable[[int], None]
"""Told the bytes that have moved since it was last told; called from several threads."""


def nobody(_: int) -> None:
    """The listener that does not care."""


def in_parallel(tasks: Iterable[Callable[[], object]], workers: int = AT_ONCE) -> None:
    """Do all tasks. Raises what the first one to fail raised; what has not begun then never begins."""
    pool = ThreadPoolExecutor(workers)
    try:
        for done in as_completed([pool.submit(task) for task in tasks]):
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


class Told:
    """A registry whose transfers a listener is told of."""

    def __init__(self, inner: Registry, listen: Listener) -> None:
        self._inner = inner
        self._listen = listen

    def has(self, what: Descriptor) -> bool:
        there = self._inner.has(what)
        if there:
            self._listen(max(0, what.size))
        return there

    def put(self, what: Descriptor, content: Content) -> None:
        self._inner.put(what, content)
        self._listen(what.size)

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        return self._heard(self._inner.get(what, start))

    def resolve(self, ref: str) -> Descriptor | None:
        return self._inner.resolve(ref)

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        self._inner.commit(ref, what, instead_of=instead_of)

    def close(self) -> None:
        self._inner.close()

    def _heard(self, stream: Stream) -> Stream:
        with contextlib.closing(stream):
            for piece in stream:
                self._listen(len(piece))
                yield piece


def read_small(registry: Registry, what: Descriptor, most: int = MOST_JSON) -> bytes:
    """Content that fits into memory. Raises Wrong if it is not what its digest says, or is larger."""
    if what.size > most:
        raise Wrong(f"{what.short} is said to have {what.size} bytes, of at most {most}")
    limit = most if what.size == UNKNOWN else what.size
    data = bytearray()
    with contextlib.closing(registry.get(what)) as stream:
        for piece in stream:
            data += piece
            if len(data) > limit:
                raise Wrong(f"{what.short} has more than {limit} bytes")
    if hashlib.sha256(data).hexdigest() != what.sha256 or what.size not in (UNKNOWN, len(data)):
        raise Wrong(f"{what.short}: the registry gave other content")
    return bytes(data)


def put_missing(registry: Registry, what: Descriptor, content: Content) -> None:
    if not registry.has(what):
        registry.put(what, content)


def fetch(registry: Registry, what: Descriptor, path: Path) -> None:
    """Write content to `path`, going on with what is there of it. Raises Wrong, Absent, Unreachable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with naming(part), os.fdopen(handle, "r+b", buffering=0) as sink:
        seen, there = _known(part, what.size)
        sink.truncate(there)
        sink.seek(there)
        right = _receive(registry, what, sink.write, seen, there)
        if not right and there:  # what was there was wrong
            sink.truncate(0)
            sink.seek(0)
            right = _receive(registry, what, sink.write, hashlib.sha256(), 0)
    if not right:
        part.unlink()
        raise Wrong(f"{path.name}: the registry gave other content for {what.short}")
    part.rename(path)


def _receive(
    registry: Registry, what: Descriptor, write: Callable[[memoryview], int | None], seen: _Hash, there: int
) -> bool:
    """Whether what came, after what was there, is the content. Not one byte more than promised is written."""
    if there < what.size or there == 0:
        with contextlib.closing(registry.get(what, there)) as stream:
            for piece in stream:
                there += len(piece)
                if there > what.size:
                    return False
                seen.update(piece)
                left = memoryview(piece)
                while left:
                    left = left[write(left) or 0 :]
    return there == what.size and seen.hexdigest() == what.sha256


def _known(part: Path, size: int) -> tuple[_Hash, int]:
    """The hash and the length of what is there already, as far as it can be part of `size` bytes."""
    seen, there = hashlib.sha256(), 0
    if part.stat().st_size <= size:
        for piece in pieces(part):
            seen.update(piece)
            there += len(piece)
    return seen, there
