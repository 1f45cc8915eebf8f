"""An entry of the cache in a registry: a manifest that carries its record and names its files.

The ref `action-<key>` means the manifest. Its layers are the entry's files, so a registry that collects
garbage leaves them; the record (record.py) is its annotation, so one request reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sprue.canonical import canonical, parse
from sprue.registry.attachments import EMPTY
from sprue.registry.documents import to_json
from sprue.registry.protocol import (
    ANYTHING,
    MANIFEST,
    MOST_JSON,
    Descriptor,
    Registry,
    Unreachable,
    Wrong,
    describe,
)
from sprue.registry.transfer import put_missing, read_small

RECORD = "sprue.cache.record"
OCTETS = "application/octet-stream"


def read_entry(registry: Registry, key: str) -> bytes | None:
    """The record of the action with that key; None if there is none. Raises Wrong, Absent, Unreachable."""
    what = registry.resolve(_ref(key))
    if what is None:
        return None
    try:
        return str(parse(read_small(registry, what))["annotations"][RECORD]).encode()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Wrong(f"it is no entry of a cache ({error})") from error


def write_entry(registry: Registry, key: str, record: bytes, files: Mapping[str, int]) -> None:
    """`files`: sha256 -> bytes; they are there already. What the key meant before, it means no more."""
    data = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": to_json(EMPTY),
            "layers": [to_json(Descriptor(OCTETS, sha, size)) for sha, size in files.items()],
            "annotations": {RECORD: record.decode()},
        }
    )
    if len(data) > MOST_JSON:
        raise Unreachable(f"the entry of {len(files)} files is larger than registries take")
    put_missing(registry, EMPTY, b"{}")
    registry.put(describe(MANIFEST, data), data)
    registry.commit(_ref(key), describe(MANIFEST, data), instead_of=ANYTHING)


def _ref(key: str) -> str:
    return f"action-{key}"
