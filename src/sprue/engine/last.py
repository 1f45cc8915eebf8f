"""The last key under each action's name: what `explain` compares with, and how long it took.

One file, to which each action that was done adds a line, a JSON array of name, key and seconds; of two lines
with one name the later one counts. It is a hint: lines that make no sense are passed over, and to lose one
costs an explanation. A collection writes it anew without the lines that no longer matter.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple


class Last(NamedTuple):
    """The key under which an action last succeeded, and the seconds that it took."""

    key: str
    seconds: float


class Lasts:
    """The file `path`, which need not exist; read when it is first asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[str, Last] | None = None

    def append(self, name: str, last: Last) -> None:
        """Add a line, if there is room. Lines of many processes do not mix: each is one short write."""
        with contextlib.suppress(OSError), self._path.open("ab", buffering=0) as stream:
            stream.write(_line(name, last))
        if self._read is not None:
            self._read[name] = last

    def get(self, name: str) -> Last | None:
        if self._read is None:
            self._read = dict(self._lines())
        return self._read.get(name)

    def condensed(self, keys: Container[str]) -> bytes:
        """The file with one line for each name, and none for keys that are not in `keys`."""
        latest = dict(self._lines())
        return b"".join(_line(name, last) for name, last in latest.items() if last.key in keys)

    def _lines(self) -> Iterator[tuple[str, Last]]:
        try:
            raw = self._path.read_bytes()
        except OSError:
            return
        for line in raw.split(b"\n"):
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                name, key, seconds = json.loads(line)
                if isinstance(name, str) and isinstance(key, str):
                    yield name, Last(key, float(seconds))


def _line(name: str, last: Last) -> bytes:
    """Begins with a line feed too, so that it stands apart from what a full disk has cut short before it."""
    return b"\n" + json.dumps([name, *last]).encode() + b"\n"
