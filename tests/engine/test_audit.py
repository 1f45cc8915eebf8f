"""Every byte of a cache is held against its name; what is damaged can be removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.canonical import canonical, digest
from sprue.engine.action import Action
from sprue.engine.audit import audit
from sprue.engine.cache import Cache, Entry
from sprue.engine.run import Outcome

Make = Callable[..., Action]
Run = Callable[..., dict[str, Outcome]]


@pytest.fixture
def made(build: Run, make: Make) -> list[Entry]:
    """Three entries of six blobs, one of which all share."""
    outcomes = build(make("a", "many", params={"size": 50_000}), make("b"), make("c", "nothing"))
    entries = [o.entry for o in outcomes.values() if o.entry is not None]
    assert len(entries) == 3
    return entries


@pytest.fixture
def blob(cache: Cache, made: list[Entry]) -> Path:
    return max(cache.folder.glob("blobs/*/*"), key=lambda p: p.stat().st_size)


@pytest.fixture
def entry(cache: Cache, made: list[Entry]) -> Path:
    wanted = next(e for e in made if e.name == "b")
    return cache.folder / "actions" / wanted.key[:2] / f"{wanted.key}.json"


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_sound_cache_is_all_good(cache: Cache, made: list[Entry]) -> None:
    found = audit(cache, 2)
    shas = {sha for e in made for sha in e.files.values()}
    assert found.ok
    assert (found.entries, found.blobs, found.unreferenced) == (3, len(shas), 0)
    assert found.size == sum(p.stat().st_size for p in cache.folder.glob("blobs/*/*"))


def test_every_flipped_bit_and_truncated_byte_of_an_entry_is_found(cache: Cache, entry: Path) -> None:
    whole = entry.read_bytes()
    tried = 0
    for at in range(0, len(whole), 7):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]):
            overwrite(entry, damaged)
            tried += 1
            assert audit(cache, 1).damaged_entries == (entry,), damaged
    print(f"{tried} kinds of damage, each found")
    overwrite(entry, whole)
    assert audit(cache, 1).ok


@pytest.mark.parametrize("at", [0, 1000, -1])
def test_a_flipped_bit_in_a_blob_is_found_and_repaired(
    cache: Cache, blob: Path, build: Run, make: Make, at: int
) -> None:
    data = bytearray(blob.read_bytes())
    data[at] ^= 1
    overwrite(blob, bytes(data))
    found = audit(cache, 2)
    assert found.damaged == (blob,)
    assert list(found.missing.values()) == [(blob.name,)]
    assert not found.ok
    assert audit(cache, 2, repair=True).ok
    assert not blob.exists()
    after = audit(cache, 2)
    assert after.ok
    assert (after.damaged, after.missing, after.entries) == ((), {}, 2)
    assert build(make("a", "many", params={"size": 50_000}))["a"].state == "done"
    assert audit(cache, 2).entries == 3


def test_a_truncated_and_a_missing_blob_are_found(cache: Cache, blob: Path) -> None:
    overwrite(blob, blob.read_bytes()[:-1])
    assert audit(cache, 2).damaged == (blob,)
    blob.unlink()
    found = audit(cache, 2)
    assert (found.damaged, list(found.missing.values()), found.ok) == ((), [(blob.name,)], False)


def test_an_entry_whose_key_is_not_that_of_its_parts_is_damaged(cache: Cache, entry: Path) -> None:
    record = json.loads(entry.read_bytes())
    record["entry"]["parts"]["version"] = "2"
    record["sha256"] = digest(canonical(record["entry"]))
    overwrite(entry, canonical(record))
    assert audit(cache, 1).damaged_entries == (entry,)
    assert audit(cache, 1, repair=True).ok
    assert not entry.exists()


def test_blobs_of_no_entry_are_counted_and_are_no_fault(cache: Cache, made: list[Entry]) -> None:
    alone = next(e for e in made if e.name == "b")
    cache.discard(alone.key)
    found = audit(cache, 2)
    assert found.ok
    assert found.unreferenced == len(set(alone.files.values()))
