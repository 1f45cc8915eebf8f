"""What a remote cache says of one action: its key's parts, and the files that it made. Signed as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sprue.canonical import canonical, digest, parse
from sprue.registry.protocol import Wrong
from sprue.remote.signing import Keys

FORMAT = "sprue-remote-cache 1"
LARGEST_ENTRY = 16 << 30
MOST_FILES = 100_000
LONGEST_PATH = 1024


@dataclass(frozen=True)
class Record:
    """`files`: relative path -> (sha256, bytes)."""

    parts: Mapping[str, str]
    files: Mapping[str, tuple[str, int]]
    seconds: float

    @property
    def size(self) -> int:
        return sum(dict(self.files.values()).values())


def encode(record: Record, keys: Keys) -> bytes:
    body = {
        "format": FORMAT,
        "key": digest(canonical(record.parts)),
        "parts": dict(record.parts),
        "files": {path: [sha, size] for path, (sha, size) in record.files.items()},
        "seconds": record.seconds,
    }
    said = canonical(body)
    return canonical({"record": body, "sha256": digest(said), "signature": keys.sign(said)})


def decode(raw: bytes, parts: Mapping[str, str], keys: Keys) -> Record:
    """The record for exactly these parts of a key. Raises Wrong for any other, and for an untrusted one."""
    try:
        said = parse(raw)
        body, signature = said["record"], said["signature"]
        if said["sha256"] != digest(canonical(body)):  # unsigned ones too are whole or of no use
            raise Wrong("it is damaged")
        if not keys.trusts(canonical(body), signature):
            raise Wrong("it is not signed by the key that is trusted")
        if body["format"] != FORMAT:
            raise Wrong(f"its format is not '{FORMAT}'")
        if body["parts"] != parts or body["key"] != digest(canonical(parts)):
            raise Wrong("it is for another action")
        files = {path: _file(path, *found) for path, found in body["files"].items()}
        seconds = float(body["seconds"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise Wrong(f"it cannot be read ({error})") from error
    record = Record(dict(parts), files, seconds)
    sizes: dict[str, int] = {}
    if any(sizes.setdefault(sha, size) != size for sha, size in files.values()):
        raise Wrong("it gives two sizes to one file")
    if (
        len(files) > MOST_FILES
        or record.size > LARGEST_ENTRY
        or not (math.isfinite(seconds) and seconds >= 0)
    ):
        raise Wrong("it is larger than any that we take")
    return record


def _file(path: str, sha: Any, size: Any) -> tuple[str, int]:
    """Raises ValueError for a path that leaves its folder, and for what is no digest or no size."""
    parts = PurePosixPath(path).parts
    clean = path and path == "/".join(parts) and not path.startswith("/") and ".." not in parts
    if not clean or "\0" in path or len(path.encode()) > LONGEST_PATH:
        raise ValueError(f"the path {path[:80]!r}")
    if not isinstance(sha, str) or len(sha) != 64 or not set(sha) <= set("0123456789abcdef"):
        raise ValueError(f"the digest of {path!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"the size of {path!r}")
    return sha, size
