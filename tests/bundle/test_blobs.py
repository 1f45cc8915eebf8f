"""Files that bundles share: once on the disk, never silently damaged, and gone when nobody needs them."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.bundle import blobs
from sprue.bundle.blobs import blob_path
from sprue.bundle.check import check_bundle, read_bundle_manifest
from sprue.bundle.collect import collect
from sprue.bundle.store import Store, check_shared
from sprue.bundle.tags import move_tag, remove_tag, roll_back
from sprue.canonical import digest
from sprue.errors import CheckError, SprueError

Freeze = Callable[..., Path]
Keep = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def keep(store: Store, fill: Freeze) -> Keep:
    def keep(files: dict[str, bytes] | None = None, **fields: object) -> Path:
        with store.staging() as folder:
            fill(folder, files, **fields)
            return store.keep(folder, read_bundle_manifest(folder))

    return keep


def disk(folder: Path) -> int:
    """What `du` counts, in bytes."""
    done = subprocess.run(["du", "-s", "--block-size=1", folder], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def stored_blobs(store: Store) -> set[str]:
    return {p.name for p in store.folder.glob(".blobs/*/*")}


def overwrite(path: Path, data: bytes) -> None:
    """As somebody does who overrides the read-only mode: in place, for all that share the file."""
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(data)
        stream.truncate()


def test_ten_siblings_cost_little_more_than_one(store: Store, keep: Keep) -> None:
    """Five of a hundred bytes differ. Folders and manifests, about 40 KiB a bundle, count too."""
    rng = random.Random(0)
    weights = {f"model/{i:02}.bin": rng.randbytes(400_000) for i in range(20)}
    keep(weights, version="1.0.0")
    one = disk(store.folder)
    for i in range(1, 10):
        keep({**weights, f"model/{i:02}.bin": rng.randbytes(400_000)}, version=f"1.0.{i}")
    ratio = disk(store.folder) / one
    assert ratio < 1.6, ratio
    assert len(store.bundles()) == 10
    for stored in store.bundles():
        store.check(stored)
        subprocess.run(
            ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=stored.folder, check=True
        )


def test_files_are_read_only_and_equal_ones_are_one(store: Store, keep: Keep) -> None:
    first, second = keep(), keep(version="1.0.1")
    for path in ("model/model.onnx", "targets/phone/golden/inputs.npz"):
        assert (first / path).samefile(second / path)
        assert (first / path).stat().st_mode & 0o777 == 0o444
    assert not (first / "manifest.json").samefile(second / "manifest.json")
    assert (first / "model/model.onnx").samefile(blob_path(store.folder, digest(b"the model")))


def test_two_equal_files_of_one_bundle_are_one(store: Store, keep: Keep) -> None:
    place = keep({"model/a": b"same", "model/b": b"same"})
    assert (place / "model/a").samefile(place / "model/b")
    check_bundle(place)


def test_damage_of_a_shared_file_is_found_in_each_and_the_others_are_named(store: Store, keep: Keep) -> None:
    first, second, third = keep(), keep(version="1.0.1"), keep({"model/model.onnx": b"3"}, version="1.0.2")
    overwrite(first / "model/model.onnx", b"THE MODEL")
    for place, other in ((first, second), (second, first)):
        with pytest.raises(CheckError) as caught:
            check_shared(place)
        version, ident = other.name.rsplit("-", 1)
        assert caught.value.what.startswith("model/model.onnx is damaged; the same damaged file is in")
        assert caught.value.what.endswith(f"tiny@{version}#{ident}")
    check_shared(third)


def test_damage_of_a_file_of_its_own_names_no_other(store: Store, keep: Keep) -> None:
    first, _ = keep({"model/own": b"own"}), keep(version="1.0.1")
    overwrite(first / "model/own", b"OWN")
    with pytest.raises(CheckError) as caught:
        check_shared(first)
    assert caught.value.what == "model/own is damaged"


def test_nothing_new_is_linked_to_a_damaged_blob(store: Store, keep: Keep) -> None:
    first = keep()
    overwrite(first / "model/model.onnx", b"THE MODEL")
    second = keep(version="1.0.1")
    check_bundle(second)
    third = keep(version="1.0.2")
    assert (second / "model/model.onnx").samefile(third / "model/model.onnx")
    with pytest.raises(CheckError):
        check_bundle(first)
    assert keep() == first
    check_bundle(first)
    assert (first / "model/model.onnx").samefile(third / "model/model.onnx")


@pytest.mark.parametrize("number", blobs.NO_LINKS)
def test_without_links_a_bundle_keeps_its_own_copy(
    store: Store, keep: Keep, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_link)
    first, second = keep(), keep(version="1.0.1")
    for place in (first, second):
        check_bundle(place)
        assert not [p for p in place.rglob("*") if p.is_file() and p.stat().st_nlink != 1]
    assert stored_blobs(store) == set()


def test_no_more_links_than_there_may_be(store: Store, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """ext4 allows 65,000 links to one file: then a new blob takes over."""
    link, count = os.link, [0]

    def few(source: Path, to: Path, **others: bool) -> None:
        if Path(source).lstat().st_nlink >= 4:
            count[0] += 1
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(source, to, **others)

    monkeypatch.setattr(os, "link", few)
    for i in range(9):
        check_bundle(keep(version=f"1.0.{i}"))
    assert count[0] > 0


def test_another_error_of_a_link_is_not_swallowed(
    store: Store, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"):
        keep()
    assert store.bundles() == []


def test_what_is_removed_is_freed_and_what_is_shared_stays(store: Store, keep: Keep) -> None:
    keep({"model/own": b"x" * 5000})
    second = keep(version="1.0.1")
    store.remove(store.find("tiny@1.0.0"))
    with pytest.raises(SprueError, match="there is no bundle"):
        store.find("tiny@1.0.0")
    before = stored_blobs(store)
    tried = collect(store, dry_run=True)
    assert stored_blobs(store) == before
    made = collect(store)
    assert made == tried
    assert (made.blobs, made.size) == (1, 5000)
    assert before - stored_blobs(store) == {digest(b"x" * 5000)}
    check_bundle(second)
    assert collect(store).blobs == 0


def test_a_blob_that_is_collected_while_a_bundle_is_linked_is_made_anew(
    store: Store, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep()
    link = os.link

    def late(source: Path, to: Path, **others: bool) -> None:
        if Path(source).is_relative_to(store.folder / ".blobs"):
            Path(source).unlink(missing_ok=True)
        link(source, to, **others)

    monkeypatch.setattr(os, "link", late)
    check_bundle(keep(version="1.0.1"))


def test_superseded_bundles_go_and_all_that_is_named_stays(store: Store, keep: Keep) -> None:
    """Latest, tagged, within reach of a rollback, and parents of what stays."""
    ids = {}
    for n in ("old", "parent", "back", "tagged", "unnamed"):
        ids[n] = read_bundle_manifest(keep(licenses=[n])).id()
    ids["latest"] = read_bundle_manifest(keep(parents=[ids["parent"]])).id()
    for name in ("back", "tagged"):
        move_tag(store.folder, "tiny", "prod", ids[name], "1.0.0")
    move_tag(store.folder, "tiny", "gone", ids["unnamed"], "1.0.0")
    remove_tag(store.folder, "tiny", "gone")
    assert collect(store).bundles == ()
    tried = collect(store, superseded=True, dry_run=True)
    assert len(store.bundles()) == 6
    made = collect(store, superseded=True)
    assert (
        made.bundles
        == tried.bundles
        == tuple(sorted(f"tiny@1.0.0#{ids[n][:12]}" for n in ("old", "unnamed")))
    )
    assert {s.id for s in store.bundles()} == {ids[n] for n in ("parent", "back", "tagged", "latest")}


def test_a_tagged_bundle_is_not_removed(store: Store, keep: Keep) -> None:
    place = keep()
    move_tag(store.folder, "tiny", "prod", read_bundle_manifest(place).id(), "1.0.0")
    with pytest.raises(SprueError, match="is tagged prod") as caught:
        store.remove(store.find("tiny"))
    assert "sprue bundle tag --remove tiny:prod" in caught.value.remedy
    assert check_bundle(place)


def test_the_signatures_of_a_bundle_go_with_it(store: Store, keep: Keep) -> None:
    first, second = keep(), keep(version="1.0.1")
    for place in (first, second):
        (place.parent / f"{place.name}.{'0' * 16}.intoto.jsonl").write_text("{}")
    store.remove(store.find("tiny@1.0.0"))
    assert [p.name for p in first.parent.glob("*.jsonl")] == [f"{second.name}.{'0' * 16}.intoto.jsonl"]


def test_a_rollback_needs_the_tag_as_it_was_looked_at(store: Store, keep: Keep) -> None:
    ids = [read_bundle_manifest(keep(version=f"1.0.{i}")).id() for i in range(3)]
    for i in (0, 1):
        seen = move_tag(store.folder, "tiny", "prod", ids[i], f"1.0.{i}")
    move_tag(store.folder, "tiny", "prod", ids[2], "1.0.2")
    with pytest.raises(CheckError, match="was moved meanwhile"):
        roll_back(store.folder, "tiny", "prod", seen)
