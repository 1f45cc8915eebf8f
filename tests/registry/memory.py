"""A registry in memory: for tests of what is done with one, and to damage, slow down and break."""

from __future__ import annotations

import hashlib
import threading

from sprue.registry.protocol import Absent, Content, Descriptor, Stream, Taken, Wrong, check_ref, pieces


class Memory:
    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.refs: dict[str, Descriptor] = {}
        self.asked: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def has(self, what: Descriptor) -> bool:
        self.asked.append(("has", what.sha256))
        return what.sha256 in self.blobs and what.size in (-1, len(self.blobs[what.sha256]))

    def put(self, what: Descriptor, content: Content) -> None:
        self.asked.append(("put", what.sha256))
        data = b"".join(pieces(content))
        if hashlib.sha256(data).hexdigest() != what.sha256 or what.size not in (-1, len(data)):
            raise Wrong("other content")
        self.blobs[what.sha256] = data

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        self.asked.append(("get", what.sha256))
        if what.sha256 not in self.blobs:
            raise Absent(what.short)
        return (piece for piece in pieces(self.blobs[what.sha256], start))

    def resolve(self, ref: str) -> Descriptor | None:
        return self.refs.get(check_ref(ref))

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        self.asked.append(("commit", ref))
        with self._lock:
            there = self.refs.get(check_ref(ref))
            if there not in (None, what, instead_of):
                raise Taken(ref, there, "memory")
            self.refs[ref] = what

    def close(self) -> None:
        """There is nothing to let go."""
