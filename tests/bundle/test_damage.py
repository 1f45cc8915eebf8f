"""A flipped bit or a cut in any file of a bundle or a store, and manifests made to exhaust the reader.

What is asked for is found unharmed, or refused; nothing else is ever accepted. Each prints how many it tried.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sprue.bundle.archive import export_bundle
from sprue.bundle.check import check_bundle
from sprue.bundle.collect import collect
from sprue.bundle.receive import import_archive
from sprue.bundle.store import Store
from sprue.bundle.tags import move_tag
from sprue.errors import CheckError, SprueError
from sprue.trust.keys import new_key, read_private, read_public
from sprue.trust.signature import require_keys, sign_bundle

Freeze = Callable[..., Path]
MEBI = 1 << 20


def spoiled(data: bytes) -> Iterator[bytes]:
    """Bits flipped at the ends and between, cuts, a tail, nothing."""
    for place in sorted({0, len(data) // 3, len(data) // 2, len(data) - 1} & {*range(len(data))}):
        yield data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
    for end in sorted({0, len(data) // 2, len(data) - 1} & {*range(len(data))}):
        yield data[:end]
    yield data + b"\0"


def each_damage(folder: Path) -> Iterator[Path]:
    """Each file of `folder`, damaged in each way, and mended again; files with several names once."""
    seen = set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if (inode := path.stat().st_ino) in seen:
            continue
        seen.add(inode)
        data = path.read_bytes()
        path.chmod(0o644)
        for bad in spoiled(data):
            path.write_bytes(bad)
            yield path
        path.write_bytes(data)


def test_no_damage_of_a_bundle_is_overlooked(bundle: Path) -> None:
    tried = 0
    for path in each_damage(bundle):
        tried += 1
        with pytest.raises(CheckError):
            check_bundle(bundle)
        out = io.BytesIO()
        with pytest.raises(CheckError):
            export_bundle(bundle, out, 0)
        assert path.exists()
    check_bundle(bundle)
    print(f"{tried} damaged bundles, each refused by check and by export")
    assert tried >= 50


@pytest.mark.slow
def test_no_damage_of_a_store_leads_to_something_else(tmp_path: Path, fill: Freeze) -> None:
    """Manifests, blobs, tags, pointers to the latest, signatures: each file that is there."""
    pytest.importorskip("cryptography", reason="sprue[signing] is not installed")
    store = Store(tmp_path / "store")
    ids, keys = {}, tmp_path / "keys"
    new_key("ci", keys)
    for version in ("1.0.0", "1.1.0"):
        with store.staging() as staged:
            bundle = fill(staged, {"model/model.onnx": version.encode()}, version=version)
            manifest = check_bundle(bundle).manifest
            place = store.keep(bundle, manifest)
        ids[version] = manifest.id()
        sign_bundle(place, read_private(keys / "ci.key"), {})
    for version, ident in ids.items():
        move_tag(store.folder, "tiny", "prod", ident, version)
    public = read_public(keys / "ci.pub")
    tried = refused = 0
    for _ in each_damage(store.folder):
        for reference, wanted in (("tiny@1.0.0", ids["1.0.0"]), ("tiny:prod", ids["1.1.0"])):
            tried += 1
            try:
                found = store.find(reference)
                store.check(found)
                require_keys(found.folder, found.manifest, [public])
            except SprueError:
                refused += 1
            else:
                assert found.id == wanted
    print(f"{tried} questions to damaged stores, {refused} refused, none answered wrongly")
    assert refused >= tried / 4
    for version, ident in ids.items():
        assert store.find(f"tiny@{version}").id == store.find(f"tiny@{version}#{ident[:12]}").id
    collect(store)


MANIFESTS = {
    "a hundred MB of spaces": lambda: b" " * (100 * MEBI),
    "a hundred MB of one string": lambda: (
        b'{"schema":"sprue-bundle/1","name":"' + b"a" * (100 * MEBI) + b'"}'
    ),
    "just under the limit, nested": lambda: b"[" * (16 * MEBI),
    "just under the limit, a number": lambda: b'{"schema":' + b"9" * (16 * MEBI - 20) + b"}",
    "just under the limit, one key": lambda: b'{"' + b"k" * (16 * MEBI - 10) + b'":1}',
    "a million times one key": lambda: b"{" + b",".join([b'"k":1'] * 10**6) + b"}",
    "objects in objects": lambda: b'{"a":' * 10**6,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_is_to_exhaust_a_reader_is_refused(bundle: Path, what: str) -> None:
    data = MANIFESTS[what]()
    (bundle / "manifest.json").write_bytes(data)
    with pytest.raises(CheckError):
        check_bundle(bundle)
    info = tarfile.TarInfo("tiny-1.0.0/bundle/manifest.json")
    info.size = len(data)
    store = Store(bundle.parent / "store")
    with pytest.raises(CheckError):
        import_archive(io.BytesIO(info.tobuf(tarfile.PAX_FORMAT) + data), store, "here")
    assert not any(store.folder.rglob("*"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux's limit of a process's memory")
def test_a_manifest_of_100_mb_is_refused_in_little_memory_without_a_traceback(bundle: Path) -> None:
    with (bundle / "manifest.json").open("wb") as file:
        file.truncate(100 * MEBI)
    limit = 1024 * MEBI

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "sprue", "bundle", "verify", str(bundle)],
        capture_output=True, text=True, timeout=60, check=False, preexec_fn=limited,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "the manifest is larger than 16777216 bytes" in done.stderr
