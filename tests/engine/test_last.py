"""The file of last keys is a hint: whatever is in it, what makes sense is used, and nothing raises."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprue.engine.cache import Cache, Entry
from sprue.engine.collect import collect
from sprue.engine.last import Last, Lasts

ONE, TWO = Last("1" * 64, 0.5), Last("2" * 64, 1.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last"


def test_the_later_of_two_lines_counts(path: Path) -> None:
    writer = Lasts(path)
    for name, last in (("a", ONE), ("b", ONE), ("a", TWO)):
        writer.append(name, last)
    for reader in (writer, Lasts(path)):
        assert (reader.get("a"), reader.get("b"), reader.get("c")) == (TWO, ONE, None)


def test_what_is_added_after_reading_is_known_too(path: Path) -> None:
    lasts = Lasts(path)
    assert lasts.get("a") is None
    lasts.append("a", ONE)
    assert lasts.get("a") == ONE


@pytest.mark.parametrize("name", ["a/b", "größe", "with\nline\tfeed", '"', "", "x" * 5000])
def test_any_name_is_kept(path: Path, name: str) -> None:
    Lasts(path).append(name, ONE)
    assert Lasts(path).get(name) == ONE


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x00" * 50,
        b"\n[",
        b'\n["a", "k"',
        b'\n{"a": 1}',
        b"\n[1, 2, 3]",
        b'\n["a", "k", []]',
        b"\n" + b"[" * 9999,
    ],
    ids=range(7),
)
def test_lines_that_make_no_sense_are_passed_over(path: Path, rubbish: bytes) -> None:
    Lasts(path).append("a", ONE)
    with path.open("ab") as stream:
        stream.write(rubbish)
    Lasts(path).append("b", TWO)
    assert (Lasts(path).get("a"), Lasts(path).get("b")) == (ONE, TWO)


def test_a_cut_at_any_byte_loses_the_last_line_at_most(path: Path) -> None:
    for name in ("a", "b"):
        Lasts(path).append(name, ONE)
    whole = path.read_bytes()
    second = whole.rindex(b"\n[")
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        Lasts(path).append("c", TWO)
        assert Lasts(path).get("c") == TWO
        assert Lasts(path).get("a") == (ONE if size >= second - 1 else None)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "last"
    path.write_bytes(data)
    assert Lasts(path).get("a") is None
    Lasts(path).append("a", ONE)
    assert Lasts(path).get("a") == ONE


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    lasts = Lasts(tmp_path / "absent" / "last")
    lasts.append("a", ONE)
    assert Lasts(tmp_path / "absent" / "last").get("a") is None


def test_a_collection_forgets_the_keys_that_are_gone_and_what_is_out_of_date(cache: Cache) -> None:
    def add(name: str, key: str) -> Entry:
        with cache.workspace() as work:
            (work / "out").mkdir()
            (work / "out" / "file").write_text(key)
            entry = cache.add(key * 64, name, {}, work / "out", 1.0)
        cache.remember(entry)
        return entry

    add("kept", "1")
    newest = add("kept", "2")
    gone = add("gone", "3")
    cache.discard(gone.key)
    collect(cache, 10**9)
    assert (cache.folder / "last").read_bytes().count(b"[") == 1
    assert Cache(cache.root).last("kept") == Last(newest.key, 1.0)
    assert Cache(cache.root).last("gone") is None
    Cache(cache.root).remember(gone)
    assert Cache(cache.root).last("gone") is not None
