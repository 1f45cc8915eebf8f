"""A damaged bundle is refused, by us and by sha256sum, whatever the damage."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.bundle.check import check_bundle
from sprue.bundle.manifest import MANIFEST, MEASUREMENTS, SUMS
from sprue.canonical import file_digest
from sprue.errors import CheckError

Freeze = Callable[..., Path]


def sha256sum(folder: Path) -> bool:
    command = ["sha256sum", "-c", "--strict", "--quiet", SUMS]
    return (
        subprocess.run(
            command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_a_whole_bundle_is_proven(bundle: Path) -> None:
    proof = check_bundle(bundle)
    assert proof.id == file_digest(bundle / MANIFEST)
    assert proof.files == 7
    assert proof.size == sum(p.stat().st_size for p in files(bundle) if p.name != SUMS)
    assert sha256sum(bundle)
    assert len((bundle / SUMS).read_text().splitlines()) == 7


def test_a_flipped_bit_in_any_file_is_found_by_both(bundle: Path) -> None:
    """In SHA256SUMS itself sha256sum may be fooled, by a flip that makes it another list of right lines."""
    tried = 0
    for path in files(bundle):
        good = path.read_bytes()
        for i in range(0, len(good), max(1, len(good) // 6)):
            path.write_bytes(good[:i] + bytes([good[i] ^ (1 << i % 8)]) + good[i + 1 :])
            tried += 1
            with pytest.raises(CheckError):
                check_bundle(bundle)
            assert path.name == SUMS or not sha256sum(bundle), (path, i)
        path.write_bytes(good)
    assert tried >= 40
    check_bundle(bundle)


def test_any_flipped_bit_in_the_sums_or_the_manifest_is_found(bundle: Path) -> None:
    for name, step in ((SUMS, 1), (MANIFEST, 11)):
        good = (bundle / name).read_bytes()
        for i in range(0, len(good), step):
            (bundle / name).write_bytes(good[:i] + bytes([good[i] ^ (1 << i % 8)]) + good[i + 1 :])
            with pytest.raises(CheckError):
                check_bundle(bundle)
        (bundle / name).write_bytes(good)


def test_a_truncation_of_any_file_is_found(bundle: Path) -> None:
    for path in files(bundle):
        good = path.read_bytes()
        for i in range(0, len(good), max(1, len(good) // 6)):
            path.write_bytes(good[:i])
            with pytest.raises(CheckError):
                check_bundle(bundle)
            assert path.name == SUMS or not sha256sum(bundle), (path, i)
        path.write_bytes(good[:-1])
        with pytest.raises(CheckError) if good else pytest.MonkeyPatch.context():
            check_bundle(bundle)
        path.write_bytes(good)


def test_every_missing_file_is_named(bundle: Path) -> None:
    for path in files(bundle):
        good = path.read_bytes()
        path.unlink()
        with pytest.raises(CheckError) as caught:
            check_bundle(bundle)
        assert path.name in str(caught.value)
        path.write_bytes(good)


@pytest.mark.parametrize(
    "name", ["extra", ".hidden", "model/extra.onnx", "evidence/measurements.json.bak", "SHA256SUMS.asc"]
)
def test_an_extra_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).write_text("x")
    with pytest.raises(CheckError, match=f"{name} is not in the manifest"):
        check_bundle(bundle)


@pytest.mark.parametrize("name", ["extra", "model/model.onnx", MANIFEST, SUMS, MEASUREMENTS, "data"])
@pytest.mark.parametrize("kind", ["link", "folder link", "fifo"])
def test_links_and_special_files_are_named_and_not_followed(
    bundle: Path, tmp_path: Path, name: str, kind: str
) -> None:
    path = bundle / name
    if path.exists():
        path.rename(tmp_path / "same")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "same" if kind == "link" else tmp_path)
    with pytest.raises(CheckError, match=f"{name} is not a plain file"):
        check_bundle(bundle)


def test_the_id_that_was_asked_for_is_the_id_that_is_there(bundle: Path) -> None:
    assert check_bundle(bundle, file_digest(bundle / MANIFEST))
    with pytest.raises(CheckError, match=f"not {'0' * 64}"):
        check_bundle(bundle, "0" * 64)


def test_all_that_is_wrong_is_said_but_no_more_than_ten(bundle: Path) -> None:
    (bundle / "model" / "model.onnx").unlink()
    (bundle / "data" / "evaluation.npz").write_bytes(b"THE DATA")
    (bundle / "extra").touch()
    with pytest.raises(CheckError) as caught:
        check_bundle(bundle)
    words = "model/model.onnx is missing", "extra is not in the manifest", "data/evaluation.npz is damaged"
    assert all(w in caught.value.what for w in words)
    for i in range(20):
        (bundle / f"extra{i:02}").touch()
    with pytest.raises(CheckError, match="and 13 more"):
        check_bundle(bundle)


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CheckError, match="not a bundle"):
            check_bundle(folder)


@pytest.mark.parametrize(
    "name", ["größe.bin", "a b.bin", "(1).bin", "日本.bin", "-n.bin", "#.bin", "$(x).bin", "😀.bin"]
)
def test_any_name_that_can_be_frozen_is_accepted_by_both(tmp_path: Path, fill: Freeze, name: str) -> None:
    folder = fill(tmp_path / "b", {f"model/{name}": b"x"})
    check_bundle(folder)
    assert sha256sum(folder)


@pytest.mark.parametrize(
    "name", ["a\nb", "a\\b", " a", "a ", "a.", "a\u2028b", "a\u0085b", "a\u202eb", "a:b", "a\x7f", "nul\x01"]
)
def test_a_name_that_some_reader_would_take_for_another_is_not_frozen(
    tmp_path: Path, fill: Freeze, name: str
) -> None:
    with pytest.raises(ValueError):
        fill(tmp_path / "b", {f"model/{name}": b"x"})


@pytest.mark.parametrize("path", ["stray", "other/file", "targets/phone/file", "targets/file"])
def test_a_file_without_a_place_is_not_frozen(tmp_path: Path, fill: Freeze, path: str) -> None:
    with pytest.raises(ValueError, match=f"'{path}' has no place in a bundle"):
        fill(tmp_path / "b", {path: b"x"})


def test_a_link_is_not_frozen(tmp_path: Path, fill: Freeze) -> None:
    (tmp_path / "b" / "model").mkdir(parents=True)
    (tmp_path / "b" / "model" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="not a plain file"):
        fill(tmp_path / "b")


def test_the_same_files_make_the_same_bundle_anywhere(tmp_path: Path, fill: Freeze) -> None:
    one, two = fill(tmp_path / "one"), fill(tmp_path / "below" / "two")
    assert [p.read_bytes() for p in files(one)] == [p.read_bytes() for p in files(two)]


def test_times_are_covered_by_the_sums_but_not_by_the_id(tmp_path: Path, fill: Freeze) -> None:
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two", {MEASUREMENTS: b"other times"})
    assert check_bundle(one).id == check_bundle(two).id
    assert (one / SUMS).read_bytes() != (two / SUMS).read_bytes()
