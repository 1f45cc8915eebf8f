"""docs/verify.py, which shares nothing with sprue, refuses what sprue's own reader refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.bundle.check import check_bundle
from sprue.bundle.manifest import MANIFEST, MEASUREMENTS, SUMS, read_manifest, safe_path
from sprue.canonical import canonical, digest, file_digest, parse
from sprue.errors import CheckError

Freeze = Callable[..., Path]

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "verify.py"
SHA = "a" * 64


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("second_reader", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


SECOND = _load()


def refused(folder: Path) -> str:
    """Both readers refuse the bundle; what the second says."""
    with pytest.raises(CheckError):
        check_bundle(folder)
    with pytest.raises(SECOND.WRONG) as caught:
        SECOND.verify(folder)
    return str(caught.value)


def accepted(folder: Path) -> None:
    assert SECOND.verify(folder) == check_bundle(folder).id


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """In isolated mode without site-packages: only the standard library is there."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_a_whole_bundle_is_verified_with_the_standard_library_alone(bundle: Path) -> None:
    ident = file_digest(bundle / MANIFEST)
    done = run(bundle, ident)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"verified {ident}\n", "")
    assert "not 000" in run(bundle, "0" * 64).stderr
    (bundle / "extra").touch()
    done = run(bundle)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "not verified: missing, or not in the manifest: extra\n"
    assert run().returncode == run(bundle, "x", "y").returncode == 1


def test_it_is_short_enough_to_be_read() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 110


def test_a_flipped_bit_in_any_file_is_found_by_both(bundle: Path) -> None:
    tried = 0
    for path in files(bundle):
        good = path.read_bytes()
        for i in range(0, len(good), max(1, len(good) // 6)):
            path.write_bytes(good[:i] + bytes([good[i] ^ (1 << i % 8)]) + good[i + 1 :])
            refused(bundle)
            tried += 1
        path.write_bytes(good)
    assert tried >= 40
    accepted(bundle)


def test_a_truncation_of_any_file_is_found_by_both(bundle: Path) -> None:
    for path in files(bundle):
        good = path.read_bytes()
        for i in range(0, len(good), max(1, len(good) // 6)):
            path.write_bytes(good[:i])
            refused(bundle)
        path.write_bytes(good)
    accepted(bundle)


@pytest.mark.parametrize("old", [b"\n", b"  "])
@pytest.mark.parametrize("new", [b"\x0b", b"\x0c", b"\r\n", b"\x1e", "\u2028".encode(), b" *", b"\t"])
def test_sums_in_another_form_are_refused_by_both(bundle: Path, old: bytes, new: bytes) -> None:
    (bundle / SUMS).write_bytes((bundle / SUMS).read_bytes().replace(old, new, 1))
    assert SUMS in refused(bundle)


@pytest.mark.parametrize("change", ["reversed", "doubled line", "extra line", "no measurements"])
def test_sums_that_say_the_same_in_another_way_are_refused_by_both(bundle: Path, change: str) -> None:
    lines = (bundle / SUMS).read_text().splitlines(keepends=True)
    changed = {
        "reversed": lines[::-1],
        "doubled line": [lines[0], *lines],
        "extra line": [*lines, f"{'0' * 64}  zzz\n"],
        "no measurements": [line for line in lines if MEASUREMENTS not in line],
    }[change]
    (bundle / SUMS).write_text("".join(changed))
    assert SUMS in refused(bundle)


def test_every_missing_file_is_named_by_both(bundle: Path) -> None:
    for path in files(bundle):
        good = path.read_bytes()
        path.unlink()
        said = refused(bundle)  # the measurements are in SHA256SUMS only
        assert path.name in said or path == bundle / MEASUREMENTS
        path.write_bytes(good)
    accepted(bundle)


@pytest.mark.parametrize("name", ["extra", ".hidden", "model/extra.onnx", "SHA256SUMS.asc"])
def test_an_extra_file_is_named_by_both(bundle: Path, name: str) -> None:
    (bundle / name).write_text("x")
    assert name in refused(bundle)


@pytest.mark.parametrize("name", ["extra", "model/model.onnx", MANIFEST, SUMS, MEASUREMENTS, "data"])
@pytest.mark.parametrize("kind", ["link", "folder link", "fifo"])
def test_links_and_special_files_are_not_followed_by_either(
    bundle: Path, tmp_path: Path, name: str, kind: str
) -> None:
    path = bundle / name
    if path.exists():
        path.rename(tmp_path / "same")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "same" if kind == "link" else tmp_path)
    assert "not a plain file" in refused(bundle)


def test_a_folder_that_cannot_be_read_is_refused_by_both(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something that nobody named could be in it. The system's refusal is put on: root is refused nothing."""
    (bundle / "closed").mkdir()
    scan = os.scandir

    def scandir(path: str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "Permission denied" in refused(bundle)


def test_a_bundle_without_measurements_is_accepted_by_both(bundle: Path) -> None:
    (bundle / MEASUREMENTS).unlink()
    lines = (bundle / SUMS).read_text().splitlines(keepends=True)
    (bundle / SUMS).write_text("".join(line for line in lines if MEASUREMENTS not in line))
    accepted(bundle)


def agree(bundle: Path, data: bytes) -> Path:
    """Put `data` in the place of the manifest, and a SHA256SUMS that agrees: only the manifest is wrong."""
    lines = (bundle / SUMS).read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.endswith(f"  {MANIFEST}\n")]
    (bundle / MANIFEST).write_bytes(data)
    kept.append(f"{digest(data)}  {MANIFEST}\n")
    (bundle / SUMS).write_text("".join(sorted(kept, key=lambda line: line[66:])))
    return bundle


def test_the_sums_made_here_agree(bundle: Path) -> None:
    """Else the tests below would be of SHA256SUMS, and not of the manifest."""
    value = parse((bundle / MANIFEST).read_bytes()) | {"licenses": ["MIT"]}
    accepted(agree(bundle, canonical(value)))


@pytest.mark.parametrize(
    "change",
    [
        lambda good: good + b"\n",
        lambda good: b" " + good,
        lambda good: b"\xef\xbb\xbf" + good,
        lambda good: good.decode().encode("utf-16"),
        lambda good: json.dumps(json.loads(good), sort_keys=True).encode(),
        lambda good: good.replace(b"tiny", b"\\u0074iny"),
        lambda good: good.replace(b'"name":"tiny"', b'"name":"tiny","name":"tiny"'),
        lambda good: good.replace(b"0.98", b"0.980"),
        lambda good: good.replace(b"0.98", b"NaN"),
        lambda good: good.replace(b"0.98", b"1e999"),
        lambda good: good.replace(b"sprue-bundle/1", b"sprue-bundle/2"),
        lambda good: good[:-1],
        lambda good: b"",
        lambda good: b"null",
        lambda good: b"[]",
        lambda good: b"{}",
        lambda good: b"[" * 10**5,
        lambda good: b'{"a":' * 10**5,
        lambda good: b" " * (16 * 2**20 + 1),
    ],
)
def test_a_manifest_in_another_form_is_refused_by_both(
    bundle: Path, change: Callable[[bytes], bytes]
) -> None:
    good = (bundle / MANIFEST).read_bytes()
    assert change(good) != good
    assert SUMS not in refused(agree(bundle, change(good)))


UNSAFE = [
    "/etc/passwd", "..", "../x", "a/../b", "a/..", "./a", "a/.", "a//b", "a/", "", ".", "/", "a\\b", "C:x",
    "a\0b", "a\nb", "a*", "a?", 'a"', "a<b", "a|b", "x" * 1025, "ä" * 513, " a", "a /b", "a./b", "...",
    "a\u200bb", "\ufeffa", "a\u2029b",
]  # fmt: skip
ENTRY: dict[str, Any] = {
    "mediaType": "x/y", "path": "model/model.onnx", "role": "model", "sha256": SHA, "size": 1, "target": None
}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        *({"path": path} for path in UNSAFE),
        {"path": 1}, {"path": None}, {"path": ["a"]},
        {"size": -1}, {"size": 2**40 + 1}, {"size": "1"}, {"size": True}, {"size": 1.0}, {"size": None},
        {"sha256": "A" * 64}, {"sha256": "a" * 63}, {"sha256": SHA + "\n"}, {"sha256": None},
        {"link": "/etc/passwd"},
    ],
)  # fmt: skip
def test_a_wrong_file_entry_is_refused_by_both(bundle: Path, changed: dict[str, Any]) -> None:
    value = parse((bundle / MANIFEST).read_bytes())
    data = canonical(value | {"files": [ENTRY | changed], "targets": []})
    said = refused(agree(bundle, data))
    assert "missing" not in said
    assert SUMS not in said


@pytest.mark.parametrize(
    "paths",
    [
        ["b", "a"], ["a", "a"], ["A", "a"], ["STRASSE", "straße"], ["e\u0301", "\u00e9"], ["a", "a/b"],
        ["A", "a/b"], ["a", "a/b/c"], ["manifest.json"], ["Manifest.JSON"], ["sha256sums"],
        ["evidence/measurements.json"], ["SHA256SUMS/x"],
    ],
)  # fmt: skip
def test_paths_that_some_system_takes_for_one_are_refused_by_both(bundle: Path, paths: list[str]) -> None:
    value = parse((bundle / MANIFEST).read_bytes())
    entries = [ENTRY | {"path": path} for path in paths]
    said = refused(agree(bundle, canonical(value | {"files": entries, "targets": []})))
    assert "two files" in said or "not sorted" in said


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m | {"more": 1},
        lambda m: {k: v for k, v in m.items() if k != "licenses"},
        lambda m: m | {"targets": m["targets"] * 2},
        lambda m: m | {"targets": [m["targets"][0] | {"entry": "model/absent"}]},
        lambda m: m | {"targets": None},
        lambda m: m | {"files": None},
        lambda m: m | {"files": [{}]},
    ],
)
def test_a_wrong_field_is_refused_by_both(bundle: Path, change: Callable[[Any], Any]) -> None:
    value = parse((bundle / MANIFEST).read_bytes())
    assert "missing, or" not in refused(agree(bundle, canonical(change(value))))


@pytest.mark.parametrize("name", ["größe.bin", "a b.bin", "日本.bin", "-n.bin", "$(x).bin", "😀.bin"])
def test_any_name_that_can_be_frozen_is_accepted_by_both(tmp_path: Path, fill: Freeze, name: str) -> None:
    accepted(fill(tmp_path / "b", {f"model/{name}": b"x"}))


@given(
    st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "a", "", "C:", "\\", "/", " "])).map("/".join)
)
def test_both_mean_the_same_by_a_safe_path(text: str) -> None:
    try:
        safe = safe_path(text) == text
    except ValueError:
        safe = False
    try:
        assert SECOND.is_safe(text) == safe
    except UnicodeEncodeError:  # half of a surrogate pair, which no JSON in UTF-8 can hold
        assert not safe


GOOD = canonical(
    {
        "schema": "sprue-bundle/1", "name": "tiny", "version": "1.0.0", "recipe": SHA,
        "source": {"revision": None, "digest": SHA}, "toolchain": {}, "createdAt": None, "files": [ENTRY],
        "targets": [], "metrics": {"reference": {"accuracy": 0.5}}, "licenses": [], "parents": [],
    }
)  # fmt: skip


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_what_the_first_accepts_the_second_accepts(at: int, new: bytes, gone: int) -> None:
    data = GOOD[:at] + new + GOOD[at + gone :]
    try:
        read_manifest(data, "here")
    except CheckError:
        return
    SECOND.read_manifest(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(SECOND.WRONG):
        SECOND.read_manifest(data)
