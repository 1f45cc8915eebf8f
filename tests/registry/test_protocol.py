"""URLs, refs, and content that proves itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.canonical import canonical
from sprue.errors import SprueError
from sprue.registry.documents import read_ref, ref_to_bytes
from sprue.registry.places.folder import Folder
from sprue.registry.protocol import PIECE, Descriptor, Wrong, connect, describe, proven, split_reference

SHA = "a" * 64


@pytest.mark.parametrize(
    ("text", "base", "ref"),
    [
        ("oci://host/team/digits:1.4.0", "oci://host/team/digits", "1.4.0"),
        ("oci://host:5000/team/digits:1.4.0-rc.1", "oci://host:5000/team/digits", "1.4.0-rc.1"),
        ("oci://host:5000/team/digits", "oci://host:5000/team/digits", None),
        (f"oci://host:5000/digits@sha256:{SHA}", "oci://host:5000/digits", f"sha256:{SHA}"),
        ("https://host:8081/repo/digits:1.0.0", "https://host:8081/repo/digits", "1.0.0"),
        ("https://host:8081", "https://host:8081", None),
        ("s3://bucket/digits:1.0.0", "s3://bucket/digits", "1.0.0"),
        ("/mnt/share/digits:1.0.0", "/mnt/share/digits", "1.0.0"),
        ("digits:1.0.0", "digits", "1.0.0"),
        ("/mnt/a:b/digits", "/mnt/a:b/digits", None),
        ("file:///mnt/digits", "file:///mnt/digits", None),
    ],
)
def test_a_reference_is_a_url_and_a_ref(text: str, base: str, ref: str | None) -> None:
    assert split_reference(text) == (base, ref)


@pytest.mark.parametrize("text", ["oci://host/digits:", "digits:a b", "oci://host/x:é"])
def test_what_cannot_be_a_version_is_refused(text: str) -> None:
    with pytest.raises(SprueError, match="cannot be a ref"):
        split_reference(text)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("ftp://host/x", "nothing can be published to 'ftp:'"),
        ("oci://host", "no repository"),
        ("oci://host/UPPER", "no repository"),
        ("oci://host/x?mount=../y", "no repository"),
        ("oci://user:secret@host/x", "no place for a password"),
        ("http://192.0.2.1/x", "plain HTTP"),
        ("https://host", "not the URL of a folder"),
        ("https://user:secret@host/x", "no place for a password"),
        ("s3:///x", "no bucket"),
    ],
)
def test_a_url_that_names_no_place_is_refused_and_no_password_is_printed(url: str, word: str) -> None:
    with pytest.raises(SprueError, match=word) as refused:
        connect(url)
    assert "secret" not in str(refused.value)


def test_a_file_url_is_a_folder() -> None:
    assert isinstance(connect("file:///tmp/a%20b"), Folder)


@given(st.integers(0, 3 * PIECE), st.sampled_from(["shorter", "longer", "other"]))
def test_content_that_is_not_what_it_is_called_never_shows_its_end(size: int, kind: str) -> None:
    data = bytes(size)
    right = describe("x", data)
    assert b"".join(proven(right, data)) == data
    wrong = {"shorter": describe("x", data + b"x"), "longer": Descriptor("x", right.sha256, size + 1)}
    stream = proven(wrong.get(kind, describe("x", b"y" * max(1, size))), data)
    seen: list[bytes] = []
    with pytest.raises(Wrong):
        seen.extend(stream)
    assert sum(map(len, seen)) < max(size, 1)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_ref_are_refused(data: bytes) -> None:
    try:
        found = read_ref(data, "a ref")
    except Wrong:
        return
    assert read_ref(ref_to_bytes(found), "a ref") == found


@given(
    st.dictionaries(
        st.sampled_from(["mediaType", "digest", "size", "annotations"]),
        st.one_of(
            st.text('ab:/{"\\é', max_size=80),
            st.integers(),
            st.none(),
            st.just(f"sha256:{SHA}"),
            st.lists(st.just("x")),
        ),
    )
)
def test_json_that_is_no_descriptor_is_refused(value: dict[str, object]) -> None:
    try:
        found = read_ref(canonical(value), "a ref")
    except (Wrong, UnicodeEncodeError):
        return
    assert found.sha256 == SHA
    assert found.size >= 0
