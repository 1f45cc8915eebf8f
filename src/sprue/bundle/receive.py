"""Reading an archive that somebody else wrote, into the store.

The manifest comes first, and with it every byte that may follow is known, but for the contents of files, and
these have digests. So nothing in a header is believed or interpreted: headers are compared with those that
`export_bundle` would have written. What differs is described to the reader of the message, and refused.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from sprue.bundle.archive import BLOCK, INSTALL, MAX_TIME, Layout, Member, ending
from sprue.bundle.beside import (
    MAX_SIGNATURE_BYTES,
    MAX_SIGNATURES,
    SIGNATURE,
    copy_signatures,
    read_signatures,
    signature_files,
)
from sprue.bundle.check import check_bundle, sum_of_measurements
from sprue.bundle.hashing import Copied, Pump, open_plain
from sprue.bundle.manifest import (
    MANIFEST,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    MEASUREMENTS,
    SUMS,
    Manifest,
    read_manifest,
    sums,
)
from sprue.bundle.store import Store
from sprue.errors import CheckError, SprueError

REMEDY = "export it again with `sprue bundle export`, or unpack it yourself and import the folder"

Approve = Callable[[Path, Manifest], object]
"""Gets a bundle that has its signatures beside it, proven but not yet in the store, and its manifest.
Raises CheckError to refuse. `Policy.require` is one."""


class Source(Protocol):
    """What is read: a file, a pipe. `readinto` may give less than it is asked for; 0 is the end."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


@dataclass(frozen=True)
class Received:
    """`new`: it was not in the store. `latest`: it is what name@version means."""

    folder: Path
    manifest: Manifest
    new: bool
    latest: bool


def import_archive(
    source: Source,
    store: Store,
    where: str,
    expected_id: str | None = None,
    approve: Approve | None = None,
) -> Received:
    """Let the bundle of an archive into the store when all of it is right; `where`: what errors call it.

    It becomes what name@version means if nothing did before. Its signatures come along, when `approve` does
    not refuse it. Raises CheckError for anything that differs from what `export_bundle` writes, SprueError
    when the store cannot be written.
    """
    with _written(store), store.staging() as staged:
        folder = staged / "bundle"
        with Pump() as pump:
            manifest = _Reader(source, where, pump).unpack(folder, expected_id)
        return _keep(store, folder, manifest, approve)


def import_folder(
    bundle: Path, store: Store, expected_id: str | None = None, approve: Approve | None = None
) -> Received:
    """Let a bundle that lies in a folder into the store: what is copied is what is proven.

    The signatures beside it come along, when `approve` does not refuse it.
    """
    manifest = check_bundle(bundle, expected_id).manifest
    paths = [f.path for f in manifest.files] + [MANIFEST, SUMS]
    paths += [MEASUREMENTS] if (bundle / MEASUREMENTS).exists() else []
    with _written(store), store.staging() as staged:
        folder = staged / "bundle"
        with Pump() as pump:
            for path in paths:
                with open_plain(bundle / path) as stream, _new_file(folder / path) as sink:
                    pump.copy(stream.readinto, sink.write, MAX_FILE_BYTES)
        check_bundle(folder, manifest.id())
        for digits, data in read_signatures(bundle).items():
            with _new_file(folder.with_name(f"{folder.name}.{digits}{SIGNATURE}")) as sink:
                sink.write(data)
        return _keep(store, folder, manifest, approve)


def _keep(store: Store, folder: Path, manifest: Manifest, approve: Approve | None) -> Received:
    if approve is not None:
        approve(folder, manifest)
    signed = signature_files(folder)
    received = keep_received(store, folder, manifest)
    copy_signatures(signed, received.folder)
    return received


@contextlib.contextmanager
def _written(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = str(error.filename or store.folder)
        raise SprueError(f"cannot import the bundle: {error.strerror or error}", where=place) from error


def keep_received(store: Store, folder: Path, manifest: Manifest) -> Received:
    """Move a proven bundle into the store. It becomes what name@version means if nothing did before."""
    known = [s for s in store.named(manifest.name) if s.manifest.version == manifest.version]
    latest = not any(s.latest for s in known) or any(s.latest and s.id == manifest.id() for s in known)
    place = store.keep(folder, manifest, latest=latest)
    return Received(place, manifest, all(s.id != manifest.id() for s in known), latest)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Buffered: a raw file may write less than it is given, and what is hashed is what it was given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "wb") as sink:
        yield sink


class _Reader:
    """The archive, read from its beginning to its end."""

    def __init__(self, source: Source, where: str, pump: Pump) -> None:
        self._source = source
        self._where = where
        self._pump = pump
        self._read = 0
        self._signatures = 0
        self._copied: deque[tuple[Member, Copied]] = deque()

    def unpack(self, folder: Path, expected_id: str | None) -> Manifest:
        """Write the bundle to `folder`, and its signatures beside it. Raises CheckError."""
        first = self._exactly(BLOCK)
        told = self._interpreted(first)
        seconds = told.mtime
        if not told.name.endswith(f"/bundle/{MANIFEST}") or not 0 < told.size <= MAX_MANIFEST_BYTES:
            self._refuse(f"it does not begin with a manifest, but with {_described(first)}")
        if not isinstance(seconds, int) or not 0 <= seconds <= MAX_TIME:
            self._refuse(f"its time is {str(seconds)[:40]}")
        raw = self._content(told.size)
        manifest = read_manifest(raw, self._where)
        if expected_id is not None and manifest.id() != expected_id:
            self._refuse(f"its id is {manifest.id()}, not {expected_id}")
        second = self._exactly(BLOCK)
        size = self._interpreted(second).size
        plain = sums(manifest, None)
        if size not in (len(plain), len(plain) + len(f"{'0' * 64}  {MEASUREMENTS}\n")):
            self._refuse(f"{SUMS} is expected after the manifest, there is {_described(second)}")
        listed = self._content(size)
        sha = sum_of_measurements(listed)
        if listed != sums(manifest, sha):
            self._refuse(f"{SUMS} does not agree with the manifest")
        layout = Layout(manifest, None if sha is None else (0, sha))
        one, two, three = layout.head()
        for member, block in ((one, first), (two, second)):
            self._same(member, member.header(seconds), block)
        self._expect(three, seconds)
        if self._content(three.size) != layout.install:
            self._refuse(f"its {INSTALL} is not the one of this version of sprue")
        for path, content in ((MANIFEST, raw), (SUMS, listed)):
            with _new_file(folder / path) as sink:
                sink.write(content)
        for member in layout.rest():
            self._file(folder, member, seconds)
        while self._copied:
            self._prove(*self._copied.popleft())
        block = self._exactly(BLOCK)
        last = ""
        while any(block):
            last = self._signature(layout, folder, block, seconds, last)
            block = self._exactly(BLOCK)
        end = ending(self._read - BLOCK)
        if block + self._exactly(len(end) - BLOCK) != end or self._some(memoryview(bytearray(1))):
            self._refuse("something stands after its last file")
        return manifest

    def _signature(self, layout: Layout, folder: Path, block: bytes, seconds: int, last: str) -> str:
        """Write a signature beside `folder`; its name. They must be sorted: `last` is the one before."""
        size = self._interpreted(block).size
        if not 0 < size <= MAX_SIGNATURE_BYTES:
            self._refuse(f"something stands after its last file: {_described(block)}")
        content = self._content(size)
        member = layout.signature(content)
        self._same(member, member.header(seconds), block)
        if member.name <= last:
            self._refuse("its signatures are not sorted")
        self._signatures += 1
        if self._signatures > MAX_SIGNATURES:
            self._refuse(f"it holds more than {MAX_SIGNATURES} signatures")
        with _new_file(folder.with_name(f"{folder.name}.{member.name.rpartition('/')[2]}")) as sink:
            sink.write(content)
        return member.name

    def _file(self, folder: Path, member: Member, seconds: int) -> None:
        if member.path == MEASUREMENTS:  # its size is in no list
            block = self._exactly(BLOCK)
            member = Member(member.name, member.path, self._interpreted(block).size, member.sha256)
            if not 0 <= member.size <= MAX_MANIFEST_BYTES:
                self._refuse(f"{MEASUREMENTS} is larger than {MAX_MANIFEST_BYTES} bytes")
            self._same(member, member.header(seconds), block)
        else:
            self._expect(member, seconds)
        with _new_file(folder / member.path) as sink:
            copied = self._pump.copy(self._some, sink.write, member.size)
        if copied.size != member.size:
            self._refuse(f"it ends within {member.path}")
        self._padding(member.size)
        self._copied.append((member, copied))
        while self._copied and self._copied[0][1].sha256.done():
            self._prove(*self._copied.popleft())

    def _prove(self, member: Member, copied: Copied) -> None:
        if copied.sha256.result() != member.sha256:
            self._refuse(f"{member.path} is not what the manifest says")

    def _expect(self, member: Member, seconds: int) -> None:
        expected = member.header(seconds)
        self._same(member, expected, self._exactly(len(expected)))

    def _same(self, member: Member, expected: bytes, found: bytes) -> None:
        if found != expected:
            self._refuse(f"'{member.name}' of {member.size} bytes is expected, there is {_described(found)}")

    def _content(self, size: int) -> bytes:
        content = self._exactly(size)
        self._padding(size)
        return content

    def _padding(self, size: int) -> None:
        if any(self._exactly(-size % BLOCK)):
            self._refuse("something stands between its files")

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        there = 0
        while there < size:
            count = self._some(memoryview(data)[there:])
            if not count:
                self._refuse(f"it ends after {self._read} bytes")
            there += count
        return bytes(data)

    def _some(self, buffer: memoryview) -> int:
        count = self._source.readinto(buffer) or 0
        self._read += count
        return count

    def _interpreted(self, block: bytes) -> tarfile.TarInfo:
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError):
            self._refuse(f"it is not an archive of a bundle: there is {_described(block)}")

    def _refuse(self, what: str) -> NoReturn:
        raise CheckError(what, where=self._where, remedy=REMEDY)


KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a fifo",
    tarfile.DIRTYPE: "a folder",
    tarfile.XHDTYPE: "a pax header",
    tarfile.XGLTYPE: "a global pax header",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


def _described(found: bytes) -> str:
    """What a header says of itself, for the message alone."""
    block = found[:BLOCK]
    if not any(block):
        return "the end of an archive"
    if block[:2] == b"\x1f\x8b" or block[:4] == b"\x28\xb5\x2f\xfd":
        return "a compressed file (decompress it first)"
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        return "no tar header"
    kind = KINDS.get(info.type, "a file")
    return f"{kind} {info.name[:100]!r} of {info.size} bytes with mode {info.mode:o}"
