"""What every registry must do, asked of each of them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from sprue.bundle.check import check_bundle
from sprue.bundle.store import Store
from sprue.errors import CheckError, SprueError
from sprue.registry.modelpack import pack
from sprue.registry.protocol import INDEX, Absent, Descriptor, Registry, Taken, Wrong, describe
from sprue.registry.publish import pack_folder, publish, push
from sprue.registry.pull import PARTIAL, find, pull_bundle, pull_files, select

Make = Callable[..., Path]
OCTETS = "application/octet-stream"


def read(registry: Registry, what: Descriptor, start: int = 0) -> bytes:
    with closing(registry.get(what, start)) as stream:
        return b"".join(stream)


def index(registry: Registry, note: str) -> Descriptor:
    """A new empty index in the registry."""
    data = b'{"schemaVersion":2,"mediaType":"%s","manifests":[],"annotations":{"note":"%s"}}'
    made = data % (INDEX.encode(), note.encode())
    what = describe(INDEX, made)
    registry.put(what, made)
    return what


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_content_comes_back_byte_for_byte_from_wherever_it_is_asked(
    registry: Registry, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    what = describe(OCTETS, data)
    assert not registry.has(what)
    for content in (tmp_path / "file", data):
        registry.put(what, content)
        assert registry.has(what)
        assert read(registry, what) == data
    for start in {0, size // 3, max(0, size - 1)}:
        assert read(registry, what, start) == data[start:]


def test_what_was_never_put_is_absent(registry: Registry) -> None:
    what = describe(OCTETS, b"never")
    assert not registry.has(what)
    with pytest.raises(Absent):
        read(registry, what)
    assert registry.resolve("1.0.0") is None


def test_content_that_is_not_what_it_is_called_is_not_kept(registry: Registry) -> None:
    what = describe(OCTETS, b"what it should be")
    with pytest.raises(CheckError):
        registry.put(what, b"what it is really")
    assert not registry.has(what)


def test_a_stream_that_is_given_up_leaves_the_registry_usable(registry: Registry) -> None:
    data = os.urandom(5_000_000)
    what = describe(OCTETS, data)
    registry.put(what, data)
    for _ in range(12):
        stream = registry.get(what)
        assert data.startswith(next(stream))
        stream.close()
    assert read(registry, what) == data


def test_a_ref_is_set_once(registry: Registry) -> None:
    first, second = index(registry, "first"), index(registry, "second")
    registry.commit("1.0.0", first)
    registry.commit("1.0.0", first)
    with pytest.raises(Taken, match="published already"):
        registry.commit("1.0.0", second)
    assert registry.resolve("1.0.0") == first


def test_a_ref_that_grows_is_moved_by_who_knows_what_it_meant(registry: Registry) -> None:
    first, second, third = (index(registry, name) for name in ("first", "second", "third"))
    registry.commit("grows", first)
    registry.commit("grows", second, instead_of=first)
    with pytest.raises(Taken):
        registry.commit("grows", third, instead_of=first)
    assert registry.resolve("grows") == second


@pytest.mark.parametrize("ref", ["", "a/b", "../x", ".x", "a" * 129, "a b"])
def test_what_cannot_be_a_ref_is_refused(registry: Registry, ref: str) -> None:
    with pytest.raises(SprueError, match="cannot be a ref"):
        registry.resolve(ref)


def test_of_eight_who_commit_at_once_one_wins_and_seven_are_told(registry: Registry) -> None:
    wanted = [index(registry, str(i)) for i in range(8)]
    together, told, won = threading.Barrier(8), [], []

    def commit(what: Descriptor) -> None:
        together.wait()
        try:
            registry.commit("1.0.0", what)
            won.append(what)
        except Taken as taken:
            told.append(taken.found)

    threads = [threading.Thread(target=commit, args=(what,)) for what in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [registry.resolve("1.0.0")]
    assert told == won * 7


def test_a_published_bundle_is_pulled_as_it_was(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    published = publish(bundle, registry)
    assert published.new
    store = Store(tmp_path / "store")
    received = pull_bundle(registry, find(registry, "1.0.0"), store)
    assert received.new
    assert received.latest
    for file in bundle.rglob("*"):
        if file.is_file():
            assert (received.folder / file.relative_to(bundle)).read_bytes() == file.read_bytes()
    assert check_bundle(received.folder).id == published.manifest.id()
    assert not pull_bundle(registry, find(registry, "1.0.0"), store).new


def test_publishing_again_changes_nothing(registry: Registry, bundle: Path, make: Make) -> None:
    first = publish(bundle, registry)
    again = publish(bundle, registry)
    assert not again.new
    assert again.index == first.index
    remeasured = make("remeasured", {"evidence/measurements.json": b'{"seconds":9}\n'})
    same_id = publish(remeasured, registry)
    assert not same_id.new
    assert registry.resolve("1.0.0") == first.index


def test_other_bytes_under_a_published_version_are_refused(
    registry: Registry, bundle: Path, make: Make
) -> None:
    first = publish(bundle, registry)
    with pytest.raises(Taken, match="raise the version"):
        publish(make("other", {"model/model.onnx": b"another model"}), registry)
    assert registry.resolve("1.0.0") == first.index


def test_what_no_ref_means_is_there_by_digest_and_is_no_version(registry: Registry, bundle: Path) -> None:
    manifest = check_bundle(bundle).manifest
    image = pack_folder(bundle, manifest)
    push(image, bundle, registry)
    assert registry.resolve("1.0.0") is None
    assert all(registry.has(blob.what) for blob in image.blobs)
    assert all(registry.has(what) for what, _ in image.manifests)
    assert find(registry, f"sha256:{image.index[0].sha256}").manifest == manifest


def test_a_part_is_pulled_alone_and_is_no_bundle(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    publish(bundle, registry)
    found = find(registry, "1.0.0")
    wanted = select(found.manifest, ["phone"], [])
    pull_files(registry, found, wanted, tmp_path / "part")
    there = {
        p.relative_to(tmp_path / "part").as_posix() for p in (tmp_path / "part").rglob("*") if p.is_file()
    }
    assert there == {
        "SHA256SUMS",
        PARTIAL,
        "targets/phone/artifact/model.tflite",
        "targets/phone/golden/inputs.npz",
    }
    for line in (tmp_path / "part" / "SHA256SUMS").read_text().splitlines():
        sha, _, path = line.partition("  ")
        assert hashlib.sha256((tmp_path / "part" / path).read_bytes()).hexdigest() == sha
    with pytest.raises(CheckError, match="not a bundle"):
        check_bundle(tmp_path / "part")


def test_signatures_travel_with_the_bundle(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    envelopes = [b'{"payload":"%d","payloadType":"x","signatures":[]}' % i for i in range(3)]
    assert publish(bundle, registry, envelopes[:1]).signatures == 1
    assert publish(bundle, registry, envelopes).signatures == 2
    assert publish(bundle, registry, envelopes).signatures == 0
    found = find(registry, "1.0.0", signatures=True)
    assert sorted(found.signatures) == envelopes
    received = pull_bundle(registry, found, Store(tmp_path / "store"))
    beside = received.folder.parent.glob(f"{received.folder.name}.*.intoto.jsonl")
    assert sorted(p.read_bytes().rstrip() for p in beside) == envelopes


def test_who_is_refused_by_a_policy_gets_nothing(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    publish(bundle, registry)
    found = find(registry, "1.0.0")

    def refuse(*_: object) -> None:
        raise CheckError("not signed")

    with pytest.raises(CheckError, match="not signed"):
        pull_bundle(registry, found, Store(tmp_path / "store"), refuse)
    with pytest.raises(CheckError, match="not signed"):
        pull_files(registry, found, found.manifest.files, tmp_path / "part", refuse)
    assert {path.name for path in tmp_path.iterdir()} <= {"bundle", "registry"}


def test_a_version_that_is_no_bundle_is_refused(registry: Registry, bundle: Path) -> None:
    registry.commit("1.0.0", index(registry, "not a bundle"))
    with pytest.raises(Wrong, match="no bundle"):
        find(registry, "1.0.0")
    with pytest.raises(Taken):
        publish(bundle, registry)


def test_the_same_bundle_is_the_same_bytes_everywhere(bundle: Path) -> None:
    manifest = check_bundle(bundle).manifest
    image = partial(pack, manifest, (16, "c" * 64))
    assert image() == image()
    assert b"artifactType" not in image().index[1]
