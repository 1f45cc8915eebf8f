"""The cache: what actions made, by content. Nothing is used from it that was not hashed when it was read.

    <cache>/format                      "sprue-cache 1"
    <cache>/blobs/<2 hex>/<sha256>      file contents, read-only
    <cache>/actions/<2 hex>/<key>.json  what the action with that key made: canonical JSON, see `Entry`
    <cache>/last/<sha256 of name>.json  the parts of the last key under that action name, for `explain`
    <cache>/logs/                       what failed actions printed

Every file is written whole or not at all, so processes may share a cache without locks: two that make the
same thing write the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sprue.canonical import canonical, digest, file_digest, parse
from sprue.durable import write_file
from sprue.engine.key import Parts, tree_digest
from sprue.errors import SprueError

FORMAT = "sprue-cache 1"


@dataclass(frozen=True)
class Entry:
    """What one action made: `files` maps relative paths to sha256; `seconds` is what it took."""

    key: str
    name: str
    parts: Mapping[str, str]
    files: Mapping[str, str]
    seconds: float

    def digest_of(self, path: str) -> str:
        """The digest of the file `path`, of the folder `path`, or of everything for ""."""
        if path in self.files:
            return self.files[path]
        return tree_digest(self.below(path))

    def below(self, path: str) -> dict[str, str]:
        """The files in the folder `path`, relative to it."""
        prefix = f"{path}/" if path else ""
        return {name[len(prefix) :]: sha for name, sha in self.files.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Last:
    """The parts of an action's last key here, and the seconds that it took."""

    parts: Mapping[str, str]
    seconds: float


class Corrupt(Exception):
    """Something in the cache is not what it says it is."""


class Cache:
    """A cache folder. Raises SprueError when it holds an unknown format."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        marker = folder / "format"
        if not marker.exists():
            if folder.is_dir() and any(
                p.name != "format" for p in folder.iterdir() if not p.name.startswith(".")
            ):
                raise SprueError(
                    "not a sprue cache, and not empty",
                    where=str(folder),
                    remedy="name another folder with --cache",
                )
            write_file(marker, FORMAT.encode() + b"\n")
        elif marker.read_bytes().strip() != FORMAT.encode():
            raise SprueError(
                f"the cache's format is not '{FORMAT}'",
                where=str(marker),
                remedy=f"it was written by another version of sprue: name another folder, or rm -r {folder}",
            )

    def find(self, key: str) -> Entry | None:
        """The entry for `key`, its blobs hashed. None if there is none; raises Corrupt if it is damaged."""
        path = self._entry_path(key)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            record = parse(raw)
            if digest(canonical(record["entry"])) != record["sha256"] or record["entry"]["key"] != key:
                raise Corrupt(f"the entry {path} is damaged")
            entry = Entry(**record["entry"])
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"the entry {path} is damaged ({error})") from error
        for sha in set(entry.files.values()):
            self._check_blob(sha)
        return entry

    def add(self, key: str, name: str, parts: Parts, made: Path, seconds: float) -> Entry:
        """Take in the folder `made`: blobs first, the entry last."""
        files = {}
        for path in sorted(made.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ValueError(f"the action {name} wrote {path.relative_to(made)}, which is no plain file")
            if path.is_file():
                files[path.relative_to(made).as_posix()] = self._add_blob(path)
        entry = Entry(key, name, dict(parts), files, round(seconds, 4))
        body = {"key": key, "name": name, "parts": entry.parts, "files": files, "seconds": entry.seconds}
        write_file(self._entry_path(key), canonical({"entry": body, "sha256": digest(canonical(body))}))
        self.remember(entry)
        return entry

    def discard(self, key: str) -> None:
        """Forget a damaged entry and those of its blobs that are damaged, so that they can be made again."""
        path = self._entry_path(key)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for sha in set(parse(path.read_bytes())["entry"]["files"].values()):
                try:
                    self._check_blob(str(sha))
                except Corrupt:
                    self._blob_path(str(sha)).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def take(self, files: Mapping[str, str], into: Path) -> None:
        """Copy blobs to relative paths below `into`, hashing what is copied. Raises Corrupt on a mismatch."""
        for name, sha in files.items():
            relative = PurePosixPath(name)
            if relative.is_absolute() or ".." in relative.parts:
                raise Corrupt(f"the path {name!r} leaves its folder")
            self.take_file(sha, into / relative)

    def take_file(self, sha: str, path: Path) -> None:
        """Copy one blob to `path`, hashing what is copied. Raises Corrupt on a mismatch."""
        path.parent.mkdir(parents=True, exist_ok=True)
        seen = hashlib.sha256()
        try:
            with self._blob_path(sha).open("rb") as source, path.open("wb") as sink:
                while chunk := source.read(1 << 20):
                    seen.update(chunk)
                    sink.write(chunk)
        except FileNotFoundError as error:
            raise Corrupt(f"the blob {sha} is missing") from error
        if seen.hexdigest() != sha:
            path.unlink()
            raise Corrupt(f"the blob {sha} is damaged")

    def read(self, sha: str) -> bytes:
        """A blob's bytes. Raises Corrupt when they are not what `sha` says."""
        try:
            data = self._blob_path(sha).read_bytes()
        except FileNotFoundError as error:
            raise Corrupt(f"the blob {sha} is missing") from error
        if digest(data) != sha:
            raise Corrupt(f"the blob {sha} is damaged")
        return data

    def size(self, entry: Entry) -> int:
        """The bytes of all files of an entry."""
        return sum(self._blob_path(sha).stat().st_size for sha in entry.files.values())

    def remember(self, entry: Entry) -> None:
        """Note how an action ended, for forecasts of the next build."""
        said = {"name": entry.name, "parts": entry.parts, "seconds": entry.seconds}
        write_file(self._last_path(entry.name), canonical(said))

    def last(self, name: str) -> Last | None:
        """How the action `name` last succeeded here."""
        try:
            found = parse(self._last_path(name).read_bytes())
            return Last(found["parts"], found["seconds"]) if found["name"] == name else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def log_path(self, name: str) -> Path:
        """Where the output of the action `name` is kept if it fails."""
        folder = self.folder / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{name.replace('/', '-')}-{digest(name.encode())[:8]}.log"

    def work_folder(self) -> Path:
        """A new folder for an action to work in, on the same file system."""
        (self.folder / "work").mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self.folder / "work"))

    def sweep(self) -> None:
        """Remove the work folders of builds that are gone."""
        for path in (self.folder / "work").glob("*-*"):
            owner = path.name.partition("-")[0]
            if owner.isdigit() and not _alive(int(owner)):
                shutil.rmtree(path, ignore_errors=True)

    def _check_blob(self, sha: str) -> None:
        try:
            if file_digest(self._blob_path(sha)) != sha:
                raise Corrupt(f"the blob {sha} is damaged")
        except OSError as error:
            raise Corrupt(f"the blob {sha} is missing") from error

    def _add_blob(self, source: Path) -> str:
        data = source.read_bytes()
        sha = digest(data)
        path = self._blob_path(sha)
        try:
            self._check_blob(sha)
        except Corrupt:
            write_file(path, data)
        return sha

    def _blob_path(self, sha: str) -> Path:
        if len(sha) != 64 or not set(sha) <= set("0123456789abcdef"):
            raise Corrupt(f"{sha!r} is not a sha256")
        return self.folder / "blobs" / sha[:2] / sha

    def _entry_path(self, key: str) -> Path:
        return self.folder / "actions" / key[:2] / f"{key}.json"

    def _last_path(self, name: str) -> Path:
        return self.folder / "last" / f"{digest(name.encode())}.json"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
