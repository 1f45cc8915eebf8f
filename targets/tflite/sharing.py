"""A flatbuffer builder that writes nothing twice.

Half of a small network's graph is repeated: shapes, options, zero points of each channel, names in the
signature. A flatbuffer may point to one place from many, so what holds no offsets itself (vectors of numbers,
tables of numbers, texts) is compared with what was written before and, where that is equal, taken back.
"""

from __future__ import annotations

import struct

from flatbuffers import Builder

LONGEST = 1 << 16
"""Bytes. Constants are larger, and are compared before they come here."""
PREFIX = 4
"""Bytes: a vector's length, a table's way to its fields."""
TEXT = 0
"""In place of an alignment: a text ends with a zero that its length does not count."""


class SharingBuilder(Builder):  # type: ignore[misc]  # flatbuffers has no types
    """The methods have the names that generated code calls; each ends as the overridden one does."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._known: dict[tuple[object, ...], int] = {}
        self._started(0, TEXT)

    def _started(self, size: int, alignment: int) -> None:
        self._before, self._size, self._alignment, self._points = self.Offset(), size, alignment, False

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        self._started(PREFIX + elemSize * numElems, alignment)
        return int(super().StartVector(elemSize, numElems, alignment))

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        text = s.encode(encoding, errors) if isinstance(s, str) else s
        self._started(PREFIX + len(text), TEXT)
        return int(super().CreateString(text))

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: N802, N803
        made = int(super().EndVector(numElems))
        return self._once(made, self._alignment, self._size)

    def StartObject(self, numfields: int) -> None:  # noqa: N802
        super().StartObject(numfields)
        self._started(0, TEXT)

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: N802
        self._points = True
        super().PrependUOffsetTRelative(off)

    def EndObject(self) -> int:  # noqa: N802
        made = int(super().EndObject())
        fields: tuple[int] = struct.unpack_from("<i", self.Bytes, len(self.Bytes) - made)
        return self._once(made, -(made + fields[0]), made - self._before)

    def _once(self, made: int, kind: int, size: int) -> int:
        """`made`, or where the same was written before. `kind`: an alignment; of tables, less their layout.

        Offsets count from the end of the buffer, which grows at its front.
        """
        if self._points or size > LONGEST:
            return made
        start = len(self.Bytes) - made
        skipped = PREFIX if kind < 0 else 0
        key = (kind, bytes(self.Bytes[start + skipped : start + size]))
        known = self._known.setdefault(key, made)
        if known != made:
            self.head = len(self.Bytes) - self._before
        return known
