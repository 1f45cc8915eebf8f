"""Signatures that travel with an archive: byte for byte, or nothing is let in."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.bundle.archive import export_bundle
from sprue.bundle.beside import MAX_SIGNATURES, digits, read_signatures, signature_files
from sprue.bundle.manifest import Manifest
from sprue.bundle.receive import Approve, Received, import_archive, import_folder
from sprue.bundle.store import Store
from sprue.errors import CheckError

Freeze = Callable[..., Path]

SIGNATURES = [b'{"one":1}\n', b'{"two":2}\n', b"no newline", b"x" * 5000]


@pytest.fixture
def signed(tmp_path: Path, bundle: Path) -> Path:
    """A bundle with signatures beside it, one of them called by another name."""
    for i, data in enumerate(SIGNATURES):
        name = digits(data) if i else "by-hand"
        (tmp_path / f"bundle.{name}.intoto.jsonl").write_bytes(data)
    return bundle


def archive(folder: Path, *, signatures: bool = True) -> bytes:
    out = io.BytesIO()
    export_bundle(folder, out, 0, signatures=signatures)
    return out.getvalue()


def let_in(data: bytes, store: Path, approve: Approve | None = None) -> Received:
    return import_archive(io.BytesIO(data), Store(store), "here", approve=approve)


def refused(data: bytes, store: Path, approve: Approve | None = None) -> str:
    with pytest.raises(CheckError) as raised:
        let_in(data, store, approve)
    assert [p for p in store.rglob("*") if p.is_file()] == []
    return raised.value.what


def test_they_come_out_as_they_went_in(signed: Path, tmp_path: Path) -> None:
    received = let_in(archive(signed), tmp_path / "store")
    assert list(read_signatures(received.folder).values()) == sorted(SIGNATURES, key=digits)
    assert archive(received.folder) == archive(signed)
    again = let_in(archive(signed), tmp_path / "store")
    assert (again.new, len(signature_files(again.folder))) == (False, len(SIGNATURES))


def test_an_archive_without_them_is_what_it_was(signed: Path, tmp_path: Path) -> None:
    plain = archive(signed, signatures=False)
    assert archive(signed)[: len(plain) - 10240].startswith(plain[:5120])
    assert signature_files(let_in(plain, tmp_path / "store").folder) == []
    # Those that come later join a bundle that is there already.
    assert len(signature_files(let_in(archive(signed), tmp_path / "store").folder)) == len(SIGNATURES)


def test_tar_sees_them_beside_the_bundle(signed: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(signed))) as file:
        names = [m.name.split("/", 1)[1] for m in file.getmembers() if "/signatures/" in m.name]
    assert names == sorted(f"signatures/{digits(s)}.intoto.jsonl" for s in SIGNATURES)


def test_a_folder_brings_its_own(signed: Path, tmp_path: Path) -> None:
    received = import_folder(signed, Store(tmp_path / "store"))
    assert read_signatures(received.folder) == read_signatures(signed)


def test_what_is_not_approved_is_not_let_in(signed: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def refuse(folder: Path, manifest: Manifest) -> None:
        seen.append(len(signature_files(folder)))
        assert (folder / "manifest.json").read_bytes() == manifest.to_bytes()
        raise CheckError("nobody we know")

    assert refused(archive(signed), tmp_path / "store", refuse) == "nobody we know"
    with pytest.raises(CheckError, match="nobody we know"):
        import_folder(signed, Store(tmp_path / "store"), approve=refuse)
    assert [p for p in (tmp_path / "store").rglob("*") if p.is_file()] == []
    assert seen == [len(SIGNATURES)] * 2


def test_a_changed_byte_anywhere_in_them_is_refused(signed: Path, tmp_path: Path) -> None:
    data = archive(signed)
    start = len(archive(signed, signatures=False).rstrip(b"\0"))
    start += -start % 512
    places = [*range(start, len(data), 499), *range(start, start + 512, 23)]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1
        refused(bytes(changed), tmp_path / "store")
    print(f"{len(places)} bytes of signatures were changed, each refused")
    for end in range(start, len(data), 2048):
        refused(data[:end], tmp_path / "store")


def test_they_are_sorted_and_few(bundle: Path, tmp_path: Path) -> None:
    data = archive(bundle)
    end = len(data.rstrip(b"\0"))
    end += -end % 512
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        top = file.getnames()[0].split("/")[0]

    def member(content: bytes, name: str = "") -> bytes:
        info = tarfile.TarInfo(name or f"{top}/signatures/{digits(content)}.intoto.jsonl")
        info.size = len(content)
        return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)

    def packed(*members: bytes) -> bytes:
        made = data[:end] + b"".join(members)
        return made + bytes(1024) + bytes(-(len(made) + 1024) % 10240)

    one, two = sorted(SIGNATURES[:2], key=digits)
    let_in(packed(member(one), member(two)), tmp_path / "good")
    store = tmp_path / "store"
    assert "not sorted" in refused(packed(member(two), member(one)), store)
    assert "not sorted" in refused(packed(member(one), member(one)), store)
    assert "is expected" in refused(packed(member(one, f"{top}/signatures/x.intoto.jsonl")), store)
    assert "is expected" in refused(packed(member(one, f"{top}/bundle/x")), store)
    assert "is expected" in refused(packed(member(one, "../x")), store)
    assert "something stands after" in refused(packed(member(b"")), store)
    many = sorted((str(i).encode() for i in range(MAX_SIGNATURES + 1)), key=digits)
    assert "more than 1000 signatures" in refused(packed(*map(member, many)), store)


@pytest.mark.parametrize("kind", ["link", "empty", "large"])
def test_what_cannot_travel_is_said_at_once(bundle: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bundle.0123456789abcdef.intoto.jsonl"
    if kind == "link":
        path.symlink_to("/etc/hostname")
    else:
        path.write_bytes(b"" if kind == "empty" else bytes(4 * 2**20 + 2))
    with pytest.raises(CheckError, match=r"cannot read it|no signature"):
        archive(bundle)
