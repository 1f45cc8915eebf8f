"""Canonical JSON and digests: how everything is named by its content.

Canonical JSON here: UTF-8, keys sorted by code point, no spaces, no NaN or infinity, no duplicate keys.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

MAX_JSON = 64 * 2**20


def canonical(value: Any) -> bytes:
    """The one byte string for `value`. Raises ValueError for NaN, TypeError for other types."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def parse(data: bytes) -> Any:
    """Read JSON strictly: duplicate keys, NaN, and what is nested too deeply are refused with ValueError."""
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path, most: int = MAX_JSON) -> Any:
    """A file that others may have written. Raises ValueError, also beyond `most` bytes, and OSError."""
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"larger than {most} bytes")
    return parse(data)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]  # set.add
        raise ValueError(f"the key {twice!r} stands twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")
