"""Every object that a registry keeps, damaged in every way: what is pulled then is right, or nothing is.

And what nobody should have published: huge, deep and twisted manifests.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.bundle.check import check_bundle
from sprue.bundle.store import Store
from sprue.canonical import canonical
from sprue.errors import CheckError
from sprue.registry.attachments import EMPTY
from sprue.registry.documents import MOST_MANIFESTS, to_json
from sprue.registry.modelpack import CONFIG, FILEPATH, PART
from sprue.registry.places.folder import Folder
from sprue.registry.protocol import INDEX, MANIFEST, MOST_JSON, Descriptor, Registry, describe
from sprue.registry.publish import pack_folder, publish
from sprue.registry.pull import find, pull_bundle, pull_files

from .memory import Memory

Make = Callable[..., Path]
ENVELOPE = b'{"payload":"","payloadType":"x","signatures":[]}'


def pulled(registry: Registry, folder: Path) -> Path | None:
    """A pull into a new store: None if it was refused, and then the store is empty."""
    store = Store(folder)
    try:
        return pull_bundle(registry, find(registry, "1.0.0", signatures=True), store).folder
    except CheckError:
        assert store.bundles() == []
        return None


@pytest.mark.slow
def test_no_damage_to_any_stored_object_is_let_in(bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "registry"
    published = publish(bundle, Folder(root), [ENVELOPE])
    image = pack_folder(bundle, published.manifest)
    unread = {blob.what.sha256 for blob in image.blobs if blob.what.media_type == CONFIG} | {EMPTY.sha256}
    unread |= {what.sha256 for what, _ in image.manifests if what.annotations[PART] == "target"}
    chance = random.Random(11)
    tried = refused = 0
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        path.chmod(0o644)
        at = chance.randrange(len(whole)) if whole else 0
        flipped = (
            whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :] if whole else b"x"
        )
        kinds = {"flipped": flipped, "cut": whole[:at], "longer": whole + b"\0", "empty": b"", "gone": None}
        for kind, data in kinds.items():
            if data == whole:
                continue
            path.unlink(missing_ok=True)
            if data is not None:
                path.write_bytes(data)
            tried += 1
            folder = pulled(Folder(root), tmp_path / f"store{tried}")
            if folder is None:
                refused += 1
            else:  # what was damaged is of no use to a pull of a bundle
                assert check_bundle(folder).id == published.manifest.id(), (path, kind)
                assert path.name in unread or path.name.startswith("sha256-"), (path, kind)
        path.write_bytes(whole)
    print(f"{tried} kinds of damage to what a registry keeps: {refused} refused, the others do not matter")
    assert refused > 60
    assert pulled(Folder(root), tmp_path / "whole") is not None


def test_damaged_content_is_put_right_by_publishing_again(bundle: Path, tmp_path: Path) -> None:
    registry = Folder(tmp_path / "registry")
    publish(bundle, registry)
    (tmp_path / "registry" / "refs" / "1.0.0").unlink()  # as if the first publisher had died before the end
    for path in (tmp_path / "registry" / "blobs" / "sha256").iterdir():
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1])
    publish(bundle, registry)
    assert pulled(registry, tmp_path / "store") is not None


def put(registry: Memory, media_type: str, data: bytes, **annotations: str) -> Descriptor:
    what = describe(media_type, data)
    registry.put(what, data)
    return Descriptor(what.media_type, what.sha256, what.size, annotations)


def index_of(registry: Memory, *parts: Descriptor) -> None:
    data = canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [to_json(p) for p in parts]})
    registry.refs["1.0.0"] = put(registry, INDEX, data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[" * 1_000_000,
        b'{"manifests":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"manifests":[],"manifests":[]}',
        b'{"manifests":[{"mediaType":"x","digest":"sha256:../../../etc/passwd","size":1}]}',
        b'{"manifests":[{"mediaType":"x","digest":"sha256:%s","size":-1}]}' % (b"a" * 64),
        b'{"manifests":[{"mediaType":"x","digest":"sha256:%s","size":1e3}]}' % (b"a" * 64),
        b'{"manifests":[{"mediaType":"x","digest":"sha256:%s","size":NaN}]}' % (b"a" * 64),
        b"\xff\xfe{}",
        b" " * (MOST_JSON + 1),
    ],
    ids=range(11),
)
def test_an_index_that_is_none_is_refused(data: bytes, tmp_path: Path) -> None:
    registry = Memory()
    registry.refs["1.0.0"] = put(registry, INDEX, data)
    with pytest.raises(CheckError):
        find(registry, "1.0.0")


def test_an_index_of_too_many_manifests_is_refused() -> None:
    registry = Memory()
    index_of(registry, *[Descriptor(MANIFEST, f"{i:064x}", 1) for i in range(MOST_MANIFESTS + 1)])
    with pytest.raises(CheckError, match=str(MOST_MANIFESTS)):
        find(registry, "1.0.0")


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{" * 1_000_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"schema":"sprue-bundle/1","schema":"sprue-bundle/1"}',
        b" " * (16 * 2**20 + 1),
        b'{"schema":"sprue-bundle/2"}',
    ],
    ids=range(6),
)
def test_a_bundle_whose_manifest_is_none_is_refused(manifest: bytes) -> None:
    registry = Memory()
    layer = put(registry, "x", manifest, **{FILEPATH: "manifest.json"})
    part = canonical({"schemaVersion": 2, "layers": [to_json(layer)]})
    index_of(registry, put(registry, MANIFEST, part, **{PART: "bundle"}))
    with pytest.raises(CheckError):
        find(registry, "1.0.0")


def test_a_registry_cannot_make_paths(bundle: Path, tmp_path: Path) -> None:
    """Paths come from manifest.json, which refuses those that lead out; those of layers are not used."""
    registry = Memory()
    publish(bundle, registry)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"][0]["path"] = "../../escaped"
    layer = put(registry, "x", canonical(manifest), **{FILEPATH: "manifest.json"})
    evil = put(registry, "x", b"evil", **{FILEPATH: "../../escaped"})
    part = canonical({"schemaVersion": 2, "layers": [to_json(layer), to_json(evil)]})
    index_of(registry, put(registry, MANIFEST, part, **{PART: "bundle"}))
    with pytest.raises(CheckError, match="relative"):
        find(registry, "1.0.0")
    right = put(registry, "x", (bundle / "manifest.json").read_bytes(), **{FILEPATH: "manifest.json"})
    part = canonical({"schemaVersion": 2, "layers": [to_json(right), to_json(evil)]})
    index_of(registry, put(registry, MANIFEST, part, **{PART: "bundle"}))
    found = find(registry, "1.0.0")
    pull_files(registry, found, found.manifest.files, tmp_path / "deep" / "er" / "out")
    assert not list(tmp_path.rglob("escaped"))


def test_measurements_that_the_sums_do_not_name_are_refused(bundle: Path, tmp_path: Path) -> None:
    registry = Memory()
    published = publish(bundle, registry)
    found = find(registry, "1.0.0")
    other = put(registry, "x", b'{"seconds":0.001}\n')
    found.extra["evidence/measurements.json"] = other
    with pytest.raises(CheckError, match="does not agree"):
        pull_bundle(registry, found, Store(tmp_path / "store"))
    assert Store(tmp_path / "store").bundles() == []
    assert pulled(registry, tmp_path / "store") is not None
    assert published.new
