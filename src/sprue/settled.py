"""What a finished build leaves behind, so that asking for it again costs a few file looks.

A record holds the answer (a summary) and everything that it came from and led to: the recipe's files, the
environment, and the bundle's files, each with its digest and its stamp. While all stamps hold, the answer
does. A stamp is what git takes for one: inode, size, times of change. As in git, a file that was changed
within the clock's grain of being recorded is not believed but hashed.

Records are hints: losing or distrusting one costs a build that finds everything cached.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sprue.canonical import canonical, digest, file_digest

FORMAT = 1
GRAIN = 2_000_000_000
"""Nanoseconds: the coarsest time stamps of common file systems (FAT, some network shares)."""

Stamp = tuple[int, int, int, int]


def question(recipe: Path, **options: Any) -> dict[str, Any]:
    """What is asked: the recipe's path, the options that decide the answer, and the environment."""
    return {"recipe": str(recipe.resolve()), "options": options, "environment": environment()}


def recall(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer of an earlier build, if nothing has changed since. None if it must be looked into."""
    path = _path(folder, asked)
    try:
        record = json.loads(path.read_bytes())
        if record["format"] != FORMAT or record["asked"] != asked:
            return None
        answer: dict[str, Any] = record["answer"]
        doubtful = [name for name, kept in record["files"].items() if not _believed(name, kept, record["at"])]
        if doubtful:
            files = {Path(name): kept[-1] for name, kept in record["files"].items()}
            if any(file_digest(Path(name)) != files[Path(name)] for name in doubtful):
                return None
            remember(folder, asked, answer, files)
        return answer
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(
    folder: Path, asked: Mapping[str, Any], answer: Mapping[str, Any], files: Mapping[Path, str]
) -> None:
    """Keep an answer. `files`: all that it depends on, with the digests that they had for it."""
    stamps = {str(path): [*_stamp(path), sha] for path, sha in files.items()}
    record = {
        "format": FORMAT,
        "asked": dict(asked),
        "at": time.time_ns(),
        "files": stamps,
        "answer": dict(answer),
    }
    path = _path(folder, asked)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(json.dumps(record).encode())
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()


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
    ours = [[str(p), *_stamp(p)] for f in _code_folders() for p in sorted(f.rglob("*")) if p.suffix != ".pyc"]
    variables = {k: v for k, v in os.environ.items() if k.startswith("SPRUE_") or k == "SOURCE_DATE_EPOCH"}
    driver = Path("/proc/driver/nvidia/version").exists()
    parts = [sys.version, platform.platform(), fingerprint(), sorted(packages), ours, variables, driver]
    return digest(canonical(parts))


def _code_folders() -> list[Path]:
    from sprue import targets

    return [Path(__file__).parent, *(Path(p) for p in targets.__path__)]


def _believed(name: str, kept: list[Any], at: int) -> bool:
    """Whether a file's stamp is as recorded, and old enough then for any later change to show in it."""
    now = os.stat(name)  # noqa: PTH116  # ten thousand recipes have half a million files
    same = [now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns] == kept[:4]
    return same and max(now.st_mtime_ns, now.st_ctime_ns) < at - GRAIN


def _stamp(path: Path) -> Stamp:
    now = path.stat()
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def _path(folder: Path, asked: Mapping[str, Any]) -> Path:
    name = digest(canonical({k: asked[k] for k in ("recipe", "options")}))
    return folder / "settled" / name[:2] / f"{name}.json"
