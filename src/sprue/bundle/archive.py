"""Bundles as tar files: one deterministic archive of a bundle. docs/format.md says what it looks like.

`layout` is the whole format: given a manifest, the members in their order, each with its size and digest.
The writer writes them; the reader (receive.py) compares with what the writer would have written.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from sprue.bundle.beside import SIGNATURE, digits, read_signatures
from sprue.bundle.check import read_bundle_manifest, read_sums, sum_of_measurements
from sprue.bundle.hashing import Copied, Pump, open_plain
from sprue.bundle.manifest import MANIFEST, MAX_MANIFEST_BYTES, MEASUREMENTS, SUMS, Manifest, sums
from sprue.canonical import digest
from sprue.errors import CheckError, SprueError

BLOCK = tarfile.BLOCKSIZE
INSTALL = "install.sh"
MAX_TIME = 8**11 - 1
"""Seconds of the epoch: what eleven octal digits hold."""


@dataclass(frozen=True)
class Member:
    """A file of the archive. `path`: of the file in the bundle; "" for install.sh and signatures."""

    name: str
    path: str
    size: int
    sha256: str
    mode: int = 0o644

    def header(self, seconds: int) -> bytes:
        """The blocks before its content: ustar, with a pax header before it where ustar does not do."""
        info = tarfile.TarInfo(self.name)
        info.size, info.mode, info.mtime = self.size, self.mode, seconds
        return info.tobuf(tarfile.PAX_FORMAT)

    @property
    def padding(self) -> int:
        return -self.size % BLOCK


@dataclass(frozen=True)
class Layout:
    """What is in an archive of a bundle. `measured`: size and sha256 of its measurements; None without."""

    manifest: Manifest
    measured: tuple[int, str] | None

    @property
    def sums(self) -> bytes:
        return sums(self.manifest, self.measured[1] if self.measured else None)

    @property
    def install(self) -> bytes:
        """install.sh for this bundle."""
        script = files("sprue.bundle").joinpath(INSTALL).read_text(encoding="utf-8")
        values = {
            "BUNDLE": f"{self.manifest.name}@{self.manifest.version}",
            "ID": self.manifest.id(),
            "SUMS": digest(self.sums),
            "FILES": str(len(self.manifest.files) + 2 + (self.measured is not None)),
        }
        return re.sub("@([A-Z]+)@", lambda m: values[m[1]], script).encode()

    def head(self) -> tuple[Member, Member, Member]:
        """The manifest, SHA256SUMS and install.sh."""
        known = self.manifest.to_bytes(), self.sums, self.install
        names = (MANIFEST, SUMS, "")
        made = [self._member(p, len(b), digest(b)) for p, b in zip(names, known, strict=True)]
        return made[0], made[1], made[2]

    def signature(self, content: bytes) -> Member:
        """A signature file, after all else; they are sorted by name."""
        name = f"{top_folder(self.manifest)}/signatures/{digits(content)}{SIGNATURE}"
        return Member(name, "", len(content), digest(content))

    def rest(self) -> Iterator[Member]:
        """All other files, by path."""
        described = [(f.path, f.size, f.sha256) for f in self.manifest.files]
        if self.measured is not None:
            described.append((MEASUREMENTS, *self.measured))
        return (self._member(*d) for d in sorted(described))

    def _member(self, path: str, size: int, sha: str) -> Member:
        top = top_folder(self.manifest)
        if not path:
            return Member(f"{top}/{INSTALL}", "", size, sha, 0o755)
        return Member(f"{top}/bundle/{path}", path, size, sha)


def top_folder(manifest: Manifest) -> str:
    """Short enough for the names of the first three members to need no pax header."""
    return f"{f'{manifest.name}-{manifest.version}'[:64]}-{manifest.id()[:12]}"


def ending(written: int) -> bytes:
    """Two blocks of zeros, and zeros to the end of the record."""
    return bytes(2 * BLOCK + -(written + 2 * BLOCK) % tarfile.RECORDSIZE)


def export_bundle(folder: Path, out: BinaryIO, seconds: int, *, signatures: bool = False) -> Manifest:
    """Write the archive of the bundle in `folder` to `out`; `seconds`: the time of all its members.

    `signatures`: with those that lie beside it.
    Raises CheckError when a file is not what the manifest says: what was written then is no archive.
    """
    manifest = read_bundle_manifest(folder)
    signed = read_signatures(folder) if signatures else {}
    written = read_sums(folder)
    sha = sum_of_measurements(written)
    try:
        measured = (os.lstat(folder / MEASUREMENTS).st_size, sha) if sha is not None else None
    except OSError as error:
        raise CheckError(f"{MEASUREMENTS} cannot be read ({error.strerror})", where=str(folder)) from error
    layout = Layout(manifest, measured)
    if measured is not None and measured[0] > MAX_MANIFEST_BYTES:
        raise CheckError(f"{MEASUREMENTS} is larger than {MAX_MANIFEST_BYTES} bytes", where=str(folder))
    if written != layout.sums:
        raise CheckError(f"{SUMS} does not agree with the manifest", where=str(folder))
    total = 0
    for member, content in zip(
        layout.head(), (manifest.to_bytes(), layout.sums, layout.install), strict=True
    ):
        total += _write(out.write, member.header(seconds), content, bytes(member.padding))
    with Pump() as pump:
        copied = []
        for member in layout.rest():
            total += _write(out.write, member.header(seconds))
            copied.append((member, _copy(pump, folder, member, out)))
            total += member.size + _write(out.write, bytes(member.padding))
        for member, made in copied:
            if made.sha256.result() != member.sha256:
                raise _damaged(folder, member)
    for content in signed.values():
        member = layout.signature(content)
        total += _write(out.write, member.header(seconds), content, bytes(member.padding))
    out.write(ending(total))
    return manifest


def epoch() -> int:
    """SOURCE_DATE_EPOCH, else 0. Raises SprueError when it is no such number."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "") or "0"
    if not re.fullmatch("[0-9]{1,11}", text) or int(text) > MAX_TIME:
        raise SprueError(f"SOURCE_DATE_EPOCH is {text!r}", remedy="set it to a number of seconds since 1970")
    return int(text)


def _write(write: Callable[[bytes], object], *parts: bytes) -> int:
    for part in parts:
        write(part)
    return sum(len(p) for p in parts)


def _copy(pump: Pump, folder: Path, member: Member, out: BinaryIO) -> Copied:
    try:
        stream = open_plain(folder / member.path)
    except OSError as error:
        raise CheckError(f"{member.path} cannot be read ({error.strerror})", where=str(folder)) from error
    with stream:
        copied = pump.copy(stream.readinto, out.write, member.size)
        longer = bool(stream.read(1))  # a file that has grown is another file
    if copied.size != member.size or longer:
        raise _damaged(folder, member)
    return copied


def _damaged(folder: Path, member: Member) -> CheckError:
    return CheckError(
        f"{member.path} is damaged",
        where=str(folder),
        remedy="build it again, or fetch it again from where it was published",
    )
