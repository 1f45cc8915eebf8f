"""Reading a manifest that somebody else wrote: exactly what we would have written, or refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.bundle.manifest import MAX_MANIFEST_BYTES, manifest_from, read_manifest, safe_path
from sprue.canonical import canonical, digest
from sprue.errors import CheckError

SHA = "a" * 64
FILE = {"mediaType": "x/y", "path": "model/m", "role": "model", "sha256": SHA, "size": 1, "target": None}
GOOD: dict[str, Any] = {
    "schema": "sprue-bundle/1",
    "name": "tiny",
    "version": "1.0.0",
    "source": {"revision": None, "digest": SHA},
    "recipe": SHA,
    "toolchain": {"onnx": "1.23"},
    "createdAt": None,
    "files": [FILE, FILE | {"path": "targets/t/artifact/a", "role": "artifact", "target": "t"}],
    "targets": [
        {
            "id": "t",
            "family": "t",
            "os": "linux",
            "arch": "x86_64",
            "variant": "null-float32",
            "runtime": {"null": "1"},
            "contract": {"features": [], "runtime": {"null": ">=1"}, "engine": {}},
            "entry": "targets/t/artifact/a",
            "state": "prepared",
        }
    ],
    "metrics": {"reference": {"accuracy": 0.5}},
    "licenses": [],
    "parents": [],
}
BYTES = canonical(GOOD)


def refused(value: Any) -> str:
    """Why a manifest is refused; its bytes, or the value of them."""
    with pytest.raises(CheckError) as caught:
        read_manifest(value if isinstance(value, bytes) else canonical(value), "here")
    return caught.value.what


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    value = copy.deepcopy(GOOD)
    place: Any = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return value


def test_what_is_written_is_read_and_the_id_is_the_sha256_of_the_bytes() -> None:
    made = read_manifest(BYTES, "here")
    assert made.to_bytes() == BYTES
    assert made.id() == digest(BYTES)
    assert manifest_from({k: v for k, v in GOOD.items() if k != "schema"}) == made


@pytest.mark.parametrize(
    "data",
    [
        BYTES + b"\n",
        b" " + BYTES,
        b"\xef\xbb\xbf" + BYTES,
        BYTES.decode().encode("utf-16"),
        BYTES.decode().encode("utf-32"),
        json.dumps(GOOD, sort_keys=True).encode(),
        json.dumps(GOOD, separators=(",", ":")).encode(),
        BYTES.replace(b"tiny", b"\\u0074iny"),
        BYTES.replace(b"0.5", b"0.50"),
        BYTES.replace(b"0.5", b"5e-1"),
        BYTES.replace(b'"size":1', b'"size":1.0'),
        BYTES.replace(b'"name":"tiny"', b'"name":"tiny","name":"tiny"'),
        BYTES.replace(b'"onnx":"1.23"', b'"onnx":"1.23","onnx":"1.23"'),
        BYTES.replace(b"0.5", b"NaN"),
        BYTES.replace(b"0.5", b"1e999"),
        BYTES[:-1],
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"schema":"sprue-bundle/1"}',
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_other_bytes_of_the_same_meaning_or_of_none_are_refused(data: bytes) -> None:
    assert refused(data)


@pytest.mark.parametrize("schema", ["sprue-bundle/2", "sprue-bundle/1.1", "", None, 1, "x" * 10**6])
def test_an_unknown_format_is_named_and_the_remedy_is_another_sprue(schema: Any) -> None:
    with pytest.raises(CheckError, match="this sprue reads 'sprue-bundle/1'") as caught:
        read_manifest(canonical(GOOD | {"schema": schema}), "here")
    assert "newer" in caught.value.remedy
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "..", "../x", "a/../b", "a/..", "./a", "a/.", "a//b", "a/", "", ".", "/", "~/../..",
        "a\\b", "C:x", "a:stream", "a\0b", "a\nb", "a*", "a?", 'a"', "a<b", "a|b", "x" * 1025, "ä" * 513,
        " a", "a /b", "a./b", "...", "a\u200bb", "\ufeffa", "a\u2029b",
    ],
)  # fmt: skip
def test_a_path_that_is_unsafe_somewhere_is_refused(path: str) -> None:
    with pytest.raises(ValueError):
        safe_path(path)
    assert "path" in refused(changed("files", 0, "path", to=path))
    assert refused(changed("targets", 0, "entry", to=path))


@given(
    st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "a", "", "C:", "\\", "/", " "])).map("/".join)
)
def test_a_path_that_is_accepted_stays_in_its_folder_everywhere(text: str) -> None:
    try:
        path = safe_path(text)
    except ValueError:
        return
    assert path == text
    for kind in (PurePosixPath, PureWindowsPath):
        parts = kind(path).parts
        assert parts
        assert not kind(path).is_absolute()
        assert "/".join(parts) == path
        assert not {"..", ".", ""} & set(parts)
    assert Path("/base", path).resolve().is_relative_to("/base")
    assert len(path.splitlines()) == 1


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["b", "a"], "not sorted"),
        (["a", "a"], "same path"),
        (["A", "a"], "only by case"),
        (["STRASSE", "straße"], "only by case"),
        (["e\u0301", "\u00e9"], "same path"),
        (["a", "a/b"], "both a file and a folder"),
        (["A", "a/b"], "both a file and a folder"),
        (["manifest.json"], "same path"),
        (["Manifest.JSON"], "only by case"),
        (["sha256sums"], "only by case"),
        (["evidence/measurements.json"], "same path"),
        (["SHA256SUMS/x"], "both a file and a folder"),
    ],
)
def test_paths_that_some_system_takes_for_one_are_refused(paths: list[str], reason: str) -> None:
    files = [FILE | {"path": p} for p in paths]
    assert reason in refused(GOOD | {"files": files, "targets": []})


@pytest.mark.parametrize(
    "value",
    [
        changed("files", 0, "size", to=-1),
        changed("files", 0, "size", to=2**40 + 1),
        changed("files", 0, "size", to="1"),
        changed("files", 0, "size", to=True),
        changed("files", 0, "sha256", to="A" * 64),
        changed("files", 0, "sha256", to="a" * 63),
        changed("files", 0, "sha256", to="a" * 64 + "\n"),
        changed("files", 0, "role", to="virus"),
        changed("files", 0, "link", to="/etc/passwd"),
        changed("files", to=None),
        changed("name", to="../up"),
        changed("name", to=".hidden"),
        changed("name", to="a" * 129),
        changed("name", to="tiny\n"),
        changed("version", to="1.0"),
        changed("version", to="1.0.0\n"),
        changed("version", to="1.0.0-../../x"),
        changed("version", to="\u0661.\u0662.\u0663"),
        changed("version", to="1" * 5000 + ".0.0"),
        changed("targets", 0, "entry", to="model/absent"),
        changed("targets", to=GOOD["targets"] * 2),
        changed("targets", 0, "state", to="perfect"),
        changed("metrics", to={"reference": {"accuracy": "0.5"}}),
        changed("metrics", to={"reference": {"accuracy": 1}}),
        changed("more", to=1),
        changed("parents", to=["x"]),
    ],
)
def test_a_wrong_field_is_refused(value: dict[str, Any]) -> None:
    assert refused(value).startswith(("not a valid manifest", "the manifest is not in canonical form"))


@pytest.mark.parametrize(
    "data", [b"[" * 10**6, b'{"a":' * 10**6, b'{"schema":"sprue-bundle/1","files":' + b"[" * 10**6]
)
def test_deep_nesting_is_refused(data: bytes) -> None:
    assert refused(data)


def test_too_many_bytes_are_refused_without_parsing_them() -> None:
    assert "larger than" in refused(bytes(100 * 2**20))
    assert "larger than" in refused(b" " * (MAX_MANIFEST_BYTES + 1))


@pytest.mark.slow
def test_too_many_files_are_refused() -> None:
    short = {"mediaType": "", "path": "", "role": "data", "sha256": SHA, "size": 1}
    files = [short | {"path": f"d/{i:06}"} for i in range(100_001)]
    assert "files" in refused(GOOD | {"files": files, "targets": []})


@given(st.integers(0, len(BYTES) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_no_edit_of_a_manifest_keeps_its_id(at: int, new: bytes, gone: int) -> None:
    """Whatever is accepted is canonical, and has an id of its own."""
    data = BYTES[:at] + new + BYTES[at + gone :]
    try:
        made = read_manifest(data, "here")
    except CheckError:
        return
    assert made.to_bytes() == data
    assert (made.id() == digest(BYTES)) == (data == BYTES)


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*GOOD, "more"]), JUNK)
def test_any_junk_in_any_field_is_refused_or_canonical(name: str, junk: Any) -> None:
    data = json.dumps(GOOD | {name: junk}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        made = read_manifest(data.encode("utf-8", "surrogatepass"), "here")
    except CheckError:
        return
    assert made.to_bytes() == data.encode()


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_never_crash(data: bytes) -> None:
    assert refused(data)
