"""What a finished build leaves behind, so that asking for it again costs a few file looks.

A record holds the answer (a summary) and everything that it came from and led to: the recipe's files, the
environment, and the bundle's files, each with its digest and its stamp. While all stamps hold, the answer
does. A stamp is what git takes for one: inode, size, times of change. As in git, a file that was changed
within the clock's grain of being read, or since, is not believed but hashed.

A record is three lines of JSON below their digest: what it depends on with stamps, the digests of that, the
answer. The first is all that must be read while nothing changes. Records are hints: losing or distrusting
one costs a build that finds everything cached.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from sprue.canonical import canonical, digest, file_digest
from sprue.durable import write_file

FORMAT = 2
DAY = 86400 * 10**9
GRAIN = 2_000_000_000
"""Nanoseconds: the coarsest time stamps of common file systems (FAT, some network shares)."""

Stamp = tuple[int, int, int, int]
Look = Callable[[str], Stamp]
SHARED = 4096
"""Files whose stamps are remembered while one command looks at many records: what recipes share."""


def question(recipe: Path, **options: Any) -> dict[str, Any]:
    """What is asked: the recipe's path, the options that decide the answer, and the environment."""
    return {"recipe": os.path.abspath(recipe), "options": options, "environment": environment()}  # noqa: PTH100


@dataclass(frozen=True)
class Recalled:
    """An earlier answer that still holds: in `brief`, and on demand in full."""

    brief: Mapping[str, Any]
    _answer: bytes

    def answer(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self._answer)
        return made


def looking() -> Look:
    """For the `recall`s of one command: looks once at a file that many records name."""
    return lru_cache(SHARED)(_stamp)


def recall(folder: Path, asked: Mapping[str, Any], look: Look | None = None) -> Recalled | None:
    """The answer of an earlier build, if nothing has changed since. None if it must be looked into."""
    now = time.time_ns()
    try:
        with open(_path(folder, asked), "rb") as stream:  # noqa: PTH123  # see `_believed`
            sha, _, said = stream.read().partition(b"\n")
            if os.fstat(stream.fileno()).st_mtime_ns < now - DAY:
                os.utime(stream.fileno())  # for `cache gc`, which removes what was used longest ago
        if digest(said).encode() != sha:
            return None
        first, digests, answer = said.split(b"\n", 2)
        record = json.loads(first)
        if record["format"] != FORMAT or record["asked"] != asked:
            return None
        recalled = Recalled(record["brief"], answer)
        at = min(record["at"], now)  # later than now: by a clock that has been set back since
        doubtful = {f[0] for f in record["files"] if not _believed(f, at, look or _stamp)}
        if doubtful:
            names = [f[0] for f in record["files"]]
            files = dict(zip(map(Path, names), json.loads(digests), strict=True))
            if any(file_digest(path) != sha for path, sha in files.items() if str(path) in doubtful):
                return None
            remember(folder, asked, recalled.brief, recalled.answer(), files, since=now)
        return recalled
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(
    folder: Path,
    asked: Mapping[str, Any],
    brief: Mapping[str, Any],
    answer: Mapping[str, Any],
    files: Mapping[Path, str],
    *,
    since: int,
) -> None:
    """Keep an answer, if there is room. `files`: all that it depends on, with the digests they had for it.

    `since`: nanoseconds of the epoch, before the first of them was read. What was edited after that stands
    here with its new stamp beside its old digest, so the stamp must not be believed.
    """
    with contextlib.suppress(OSError):
        stamps = [[str(path), *_stamp(str(path))] for path in files]
        record = {"format": FORMAT, "asked": asked, "at": since, "files": stamps, "brief": brief}
        said = "\n".join(map(json.dumps, (record, list(files.values()), answer))).encode()
        path = Path(_path(folder, asked))
        write_file(path, digest(said).encode() + b"\n" + said, durable=False)


@cache
def environment() -> str:
    """The digest of what runs: interpreter, processor, packages, our own files, SPRUE_* variables.

    Packages count by the names and times of their metadata folders, which any installer changes.
    """
    from sprue.machine import fingerprint

    packages = []
    for place in sys.path:
        with contextlib.suppress(OSError), os.scandir(place or ".") as entries:
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    packages.append([entry.path, entry.stat().st_mtime_ns])
    ours = [[name, *_stamp(name)] for folder in _code_folders() for name in _code(folder)]
    variables = {k: v for k, v in os.environ.items() if k.startswith("SPRUE_") or k == "SOURCE_DATE_EPOCH"}
    driver = Path("/proc/driver/nvidia/version").exists()
    parts = [sys.version, platform.platform(), fingerprint(), sorted(packages), ours, variables, driver]
    return digest(canonical(parts))


def _code_folders() -> list[Path]:
    from sprue import targets

    return [Path(__file__).parent, *(Path(p) for p in targets.__path__)]


def _code(folder: Path) -> list[str]:
    """All files below it but byte code. Plain strings: see `_stamp`."""
    found = [f"{place}/{name}" for place, _, names in os.walk(folder) for name in names]
    return sorted(name for name in found if not name.endswith(".pyc"))


def _believed(file: list[Any], at: int, look: Look) -> bool:
    """Whether a file's stamp is as recorded, and old enough then for any later change to show in it."""
    now = look(file[0])
    return now == tuple(file[1:]) and max(now[2], now[3]) < at - GRAIN


def _stamp(path: str) -> Stamp:
    """Ten thousand recipes have a third of a million files: plain strings and one system call each."""
    now = os.stat(path)  # noqa: PTH116
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def _path(folder: Path, asked: Mapping[str, Any]) -> str:
    name = digest(canonical([asked["recipe"], asked["options"]]))
    return f"{folder}/settled/{name[:2]}/{name}.json"
