"""Canonical JSON: one byte string for one value, and strict reading."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.canonical import canonical, digest, file_digest, parse, read_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert parse(canonical(value)) == value
    assert canonical(parse(canonical(value))) == canonical(value)


@given(st.dictionaries(TEXT, JSON, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical({k: value[k] for k in keys}) == canonical(value)


@given(JSON)
def test_it_is_json_without_spaces(value: Any) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(value) == canonical(json.loads(json.dumps(value, indent=3)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")], "\ud800"])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical(value)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, Path("x"), object()])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical(value)


@pytest.mark.parametrize(
    "text", [b'{"a":1,"a":2}', b'{"b":{"a":1,"a":1}}', b"NaN", b"[Infinity]", b"{", b"\xff", b""]
)
def test_reading_is_strict(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse(text)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse(data)


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "value.json").write_bytes(b"[1,2,3]")
    assert read_json(tmp_path / "value.json", 7) == [1, 2, 3]
    with pytest.raises(ValueError, match="larger than 6 bytes"):
        read_json(tmp_path / "value.json", 6)


def test_what_is_nested_too_deeply_is_refused_as_the_rest_is() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse(b"[" * 100_000)


@given(st.binary(max_size=100))
def test_digests_are_sha256(data: bytes) -> None:
    assert digest(data) == hashlib.sha256(data).hexdigest()


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    assert file_digest(tmp_path / "f") == digest(b"x" * 3_000_000)
