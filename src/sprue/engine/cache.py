"""The cache: what actions made, by content. Nothing is used from it that was not hashed when it was read.

    <root>/sprue-cache-2/        named after the format: a cache of another format beside it is left alone
      blobs/<2 hex>/<sha256>      file contents, read-only
      actions/<2 hex>/<key>.json  what the action with that key made: canonical JSON, see `Entry`
      last                        the last key under each action name, for `explain`: see `last.py`
      settled/, reports/          what builds answered and found: sprue's own, collected with the rest
      logs/                       what failed actions printed
      work/                       where actions run; files are written here and renamed into their place
      builds/                     a file for each build that runs, locked as long as its process lives

Every file but `last` is written whole or not at all, so processes may share a cache without locks: two that
make the same thing write the same bytes. Nothing is synced to disk: what a power cut tears does not hash to
its name, and is made again. (Bundles are synced; they are the product.) An entry's time of change is when it
was last used, give or take an hour or a build; a blob's is when it was last added. `collect` removes by them,
and docs/cache.md says why it is safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sprue.canonical import canonical, digest, file_digest, parse
from sprue.durable import move_file, owned_file, owned_folder, sweep, write_file
from sprue.engine.key import tree_digest
from sprue.engine.last import Last, Lasts
from sprue.errors import SprueError, refused

FORMAT = "sprue-cache-2"
OTHERS = "sprue-cache-*"
OLD_MARKER = "format"
"""The file that marks a cache of format 1, which lies in `<root>` itself."""
HOUR = 3600 * 10**9


@dataclass(frozen=True)
class Entry:
    """What one action made: `files` maps relative paths to sha256; `seconds` is what it took."""

    key: str
    name: str
    parts: Mapping[str, str]
    files: Mapping[str, str]
    seconds: float

    def digest_of(self, path: str) -> str:
        """The digest of the file `path`, of the folder `path`, or of everything for "".

        Raises SprueError when there is neither.
        """
        if path in self.files:
            return self.files[path]
        below = self.below(path)
        if path and not below:
            raise SprueError(f"the action {self.name} made no '{path}'")
        return tree_digest(below)

    def below(self, path: str) -> dict[str, str]:
        """The files in the folder `path`, relative to it."""
        prefix = f"{path}/" if path else ""
        return {name[len(prefix) :]: sha for name, sha in self.files.items() if name.startswith(prefix)}


class Corrupt(SprueError):
    """Something in the cache is not what it says it is. Whoever looks it up first makes it again."""

    def __init__(
        self, what: str, *, where: str = "", remedy: str = "run the build again: it will be made anew"
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)


class Cache:
    """The cache in the folder `root`. Raises SprueError when that cannot be used, or is something else.

    `began`: for a process that works for a build, when that took its lease (see `in_use`), in nanoseconds of
    the epoch. `note` says if a new cache was begun beside one that another version of sprue has left.
    """

    def __init__(self, root: Path, began: int | None = None) -> None:
        self.root = root.absolute()  # workers have other current folders
        self.folder = self.root / FORMAT
        self.began = began
        self.note = ""
        self._last = Lasts(self.folder / "last")
        try:
            if not self.folder.is_dir():
                self._create()
        except OSError as error:
            raise refused("cannot use the cache", error, root) from error

    def others(self) -> list[str]:
        """Names in `root` of caches that another version of sprue has left. Nothing here touches them."""
        found = [p.name for p in self.root.glob(OTHERS) if p.name != FORMAT and p.is_dir()]
        with contextlib.suppress(FileNotFoundError), (self.root / OLD_MARKER).open("rb") as marker:
            found += [OLD_MARKER] if marker.read(len("sprue-cache")) == b"sprue-cache" else []
        return sorted(found)

    def _create(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        there = [p.name for p in self.root.iterdir() if not p.name.startswith(".")]
        others = self.others()
        if there and not others and FORMAT not in there:  # another process may be making it just now
            raise SprueError(
                "not a sprue cache, and not empty",
                where=str(self.root),
                remedy="name another folder with --cache",
            )
        self.folder.mkdir(exist_ok=True)
        if others:
            self.note = (
                f"{self.root} holds a cache of another version of sprue ({', '.join(others)}), whose format "
                f"is unknown here: it is left alone, and a new one is begun in {FORMAT}"
            )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While the block runs, no collection removes what is used in it. Raises SprueError."""
        if self.began is not None:  # a build runs the engine more than once
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                lease = stack.enter_context(owned_file(self.folder / "builds", "build-"))
            except OSError as error:
                raise refused("cannot use the cache", error, self.folder) from error
            self.began = lease.stat().st_mtime_ns
            try:
                yield
            finally:
                self.began = None

    def find(self, key: str) -> Entry | None:
        """The entry for `key`, its blobs hashed. None if there is none; raises Corrupt if it is damaged."""
        path = self._entry_path(key)
        try:
            entry = decoded(path.read_bytes(), key)
            self._use(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Corrupt(f"the entry {path} cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Corrupt(f"the entry {path} is damaged ({error})") from error
        for sha in set(entry.files.values()):
            self._check_blob(sha)
        return entry

    def add(self, key: str, name: str, parts: Mapping[str, str], made: Path, seconds: float) -> Entry:
        """Take in the folder `made`, which is emptied: blobs first, the entry last.

        Raises SprueError for links, special files, and names that are not UTF-8.
        """
        files = {
            path: self._add_blob(Path(f"{made}/{path}")) for path in sorted(_plain_files(str(made), name))
        }
        entry = Entry(key, name, dict(parts), files, round(seconds, 4))
        body = vars(entry)
        record = canonical({"entry": body, "sha256": digest(canonical(body))})
        path = self._entry_path(key)
        write_file(path, record, scratch=made.parent, durable=False)
        with contextlib.suppress(FileNotFoundError):
            self._stamp(path)
        return entry

    def discard(self, key: str) -> None:
        """Forget a damaged entry. Its blobs stay: a damaged one is replaced when it is made again."""
        with contextlib.suppress(OSError):
            self._entry_path(key).unlink(missing_ok=True)

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
            with self.blob(sha).open("rb") as source, path.open("wb") as sink:
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
            data = self.blob(sha).read_bytes()
        except FileNotFoundError as error:
            raise Corrupt(f"the blob {sha} is missing") from error
        if digest(data) != sha:
            raise Corrupt(f"the blob {sha} is damaged")
        return data

    def blob(self, sha: str) -> Path:
        """Where a blob lies, if it is there. Raises Corrupt for what is no sha256."""
        if len(sha) != 64 or not set(sha) <= set("0123456789abcdef"):
            raise Corrupt(f"{sha!r} is not a sha256")
        return Path(f"{self.folder}/blobs/{sha[:2]}/{sha}")

    def size(self, entry: Entry) -> int:
        """The bytes of all files of an entry."""
        return sum(self.blob(sha).stat().st_size for sha in entry.files.values())

    def remember(self, entry: Entry) -> None:
        """Note how an action ended, for forecasts of the next build."""
        self._last.append(entry.name, Last(entry.key, entry.seconds))

    def last(self, name: str) -> Last | None:
        """How the action `name` last succeeded here."""
        return self._last.get(name)

    def condensed_last(self, keys: Container[str]) -> bytes:
        """What the file `last` could be without what is out of date, or about other keys."""
        return self._last.condensed(keys)

    def parts(self, key: str) -> Mapping[str, str] | None:
        """The parts of a key, if its entry is here and whole; whether its blobs are is not looked at."""
        try:
            return decoded(self._entry_path(key).read_bytes(), key).parts
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def keep_log(self, name: str, log: Path) -> Path | None:
        """Keep what the action `name` printed before it failed. None if it printed nothing."""
        kept = self._log_path(name)
        try:
            kept.unlink(missing_ok=True)
            if not log.stat().st_size:
                return None
            kept.parent.mkdir(exist_ok=True)
            return log.replace(kept)
        except OSError:
            return None

    def drop_log(self, name: str) -> None:
        """Remove what an earlier run kept: the action `name` has succeeded."""
        self._log_path(name).unlink(missing_ok=True)

    def workspace(self) -> AbstractContextManager[Path]:
        """A new folder to work in, on the same file system; gone at the end, or in a later sweep."""
        return owned_folder(self.folder / "work", "build-")

    def sweep(self) -> None:
        """Remove the work folders and the leases of builds that are gone."""
        sweep(self.folder / "work", "build-")
        sweep(self.folder / "builds", "build-")

    def _log_path(self, name: str) -> Path:
        return self.folder / "logs" / f"{name.replace('/', '-')[:100]}-{digest(name.encode())[:8]}.log"

    def _check_blob(self, sha: str) -> None:
        try:
            if file_digest(self.blob(sha)) != sha:
                raise Corrupt(f"the blob {sha} is damaged")
        except OSError as error:
            raise Corrupt(f"the blob {sha} is missing") from error

    def _add_blob(self, source: Path) -> str:
        sha = file_digest(source)
        place = self.blob(sha)
        try:
            self._stamp(place)  # before it is looked at: from here on it is not collected
            self._check_blob(sha)
        except (FileNotFoundError, Corrupt):
            if source.stat().st_nlink > 1:  # what changes the other name must not change the blob
                source = shutil.copyfile(source, source.parent.parent / f"unlinked-{sha}")
            self._stamp(source)  # an action may have given it any time
            move_file(source, place)
        return sha

    def _use(self, path: Path) -> None:
        """Note that an entry is used. Raises FileNotFoundError when it has just been collected."""
        now = time.time_ns()
        since = now - HOUR if self.began is None else self.began
        if not since <= path.stat().st_mtime_ns <= now + HOUR:
            self._stamp(path)

    def _stamp(self, path: Path) -> None:
        """Set a file's time of change to now, or to when this build began if the clock was set back since.

        Raises FileNotFoundError. A file that is another user's, or cannot be written, stays as it is.
        """
        now = max(time.time_ns(), self.began or 0)
        try:
            os.utime(path, ns=(now, now))
        except FileNotFoundError:
            raise
        except OSError:
            pass

    def _entry_path(self, key: str) -> Path:
        return Path(f"{self.folder}/actions/{key[:2]}/{key}.json")


def decoded(raw: bytes, key: str) -> Entry:
    """Raises ValueError, KeyError, TypeError or RecursionError for anything but the entry for `key`."""
    record = parse(raw)
    entry = Entry(**record["entry"])
    files = record["entry"]["files"]
    if not isinstance(files, dict) or not all(isinstance(sha, str) for sha in files.values()):
        raise TypeError("its files are no digests by path")
    if digest(canonical(vars(entry))) != record["sha256"] or entry.key != key:
        raise ValueError("it is not what was written")
    return entry


def _plain_files(made: str, name: str, prefix: str = "") -> Iterator[str]:
    """The files below `made`, as relative paths."""
    with os.scandir(made) as found:
        for entry in found:
            relative = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _plain_files(entry.path, name, f"{relative}/")
            elif entry.is_file(follow_symlinks=False) and _is_utf8(relative):
                yield relative
            else:
                raise SprueError(f"the action {name} wrote {relative!a}, which is no plain file")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
