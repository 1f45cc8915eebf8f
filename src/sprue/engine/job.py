"""A job: an action, where its inputs lie, and the key that its output goes under. And how a job is done.

    <folder>/inputs/<name>/...   a copy of each input, so that an action can spoil nothing
    <folder>/out/                what it makes, which is moved into the cache
    <folder>/log                 what it prints

The process that runs the action also copies its inputs from the cache and takes its output in, so that
the build's own process has nothing to do but to decide. A folder serves one job after the other, each time
under another name: on many file systems nothing is as slow as to create and remove files and folders.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sprue.engine.cache import Cache, Entry
from sprue.engine.key import path_digest, source_files
from sprue.errors import SprueError, advice


class ActionFailed(Exception):
    """An action did not succeed. `bug` holds a traceback when the error was not the user's.

    `refused`: it ran well, and its answer is no (it raised a CheckError).
    """

    def __init__(
        self, what: str, where: str = "", remedy: str = "", bug: str = "", *, refused: bool = False
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.bug = bug
        self.refused = refused


@dataclass(frozen=True)
class Source:
    """An input that is a file or folder of the user's, with the digest that stands in the key."""

    path: str
    digest: str


@dataclass(frozen=True)
class Stored:
    """An input that lies in the cache: relative path -> sha256. `file` is its path if it is a single file."""

    files: Mapping[str, str]
    file: str = ""


@dataclass(frozen=True)
class Job:
    """`parts` are those of `key`. `timeout` in seconds. `alone`: it measures this machine, and runs here.

    `folder` is for this job alone. `cache` and `began` are what a `Cache` is opened with.
    """

    key: str
    name: str
    parts: Mapping[str, str]
    function: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Source | Stored]
    folder: str
    cache: str
    began: int | None
    timeout: float = 600.0
    alone: bool = False

    @property
    def log(self) -> Path:
        return Path(self.folder, "log")

    def open_cache(self) -> Cache:
        return Cache(Path(self.cache), self.began)

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "inputs": {name: vars(i) for name, i in self.inputs.items()}}


def job_of(said: dict[str, Any]) -> Job:
    """The reverse of `Job.as_json`."""
    inputs = {n: Source(**i) if "path" in i else Stored(**i) for n, i in said["inputs"].items()}
    return replace(Job(**said), inputs=inputs)


@dataclass(frozen=True)
class Request:
    """A function to call: paths of its inputs, an empty folder for its output, a file for what it prints."""

    function: str
    inputs: Mapping[str, str]
    params: Mapping[str, Any]
    out: str
    log: str


@contextmanager
def failing() -> Iterator[None]:
    """Before and after an action: a full disk, an edited source, an output of a wrong kind make it fail."""
    try:
        yield
    except SprueError as error:
        raise ActionFailed(error.what, error.where, error.remedy) from error
    except OSError as error:
        where = str(error.filename2 or error.filename or "")  # of a copy the second is where it goes
        raise ActionFailed(error.strerror or str(error), where, advice(error)) from error


def lay_out(job: Job, cache: Cache) -> Request:
    """Copy the inputs into the job's folder. Raises SprueError for one that is damaged, or edited since."""
    _prepare(job.folder)
    places = {name: Path(f"{job.folder}/inputs/{name}") for name in job.inputs}
    paths = {name: str(_copied(i, places[name], cache)) for name, i in job.inputs.items()}
    return Request(job.function, paths, job.params, f"{job.folder}/out", str(job.log))


def take_in(job: Job, cache: Cache, seconds: float) -> Entry:
    """Move what the action made into the cache."""
    return cache.add(job.key, job.name, job.parts, Path(f"{job.folder}/out"), seconds)


def _copied(source: Source | Stored, place: Path, cache: Cache) -> Path:
    """A copy of an input: a folder at `place`, a file below it under its own name."""
    place.mkdir(parents=True, exist_ok=True)
    if isinstance(source, Stored):
        cache.take(source.files, place)
        return place / source.file
    origin, copy = Path(source.path), place
    if origin.is_dir():
        for name in source_files(origin):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin / name, place / name)
    else:
        copy = shutil.copyfile(origin, place / origin.name)
    if path_digest(copy) != source.digest:  # else it would be cached under the wrong key
        what = "it changed while the build ran"
        raise SprueError(what, where=source.path, remedy="run the build again")
    return copy


def _prepare(folder: str) -> None:
    """Make a job's folder, or remove what an earlier job has left in it, but for empty folders to use again.

    Not at the end of that job: what it left running may write there until the folder has another name.
    """
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except FileNotFoundError:
        entries = []
    kept = set()
    for entry in entries:
        if entry.name in ("out", "inputs") and entry.is_dir(follow_symlinks=False):
            _empty(entry.path)
            kept.add(entry.name)
        elif entry.name != "log" or entry.stat(follow_symlinks=False).st_size > 0:
            _remove(entry)
    if "out" not in kept:
        os.makedirs(f"{folder}/out")  # noqa: PTH103  # here and below plain strings, for speed


def _empty(folder: str) -> None:
    with os.scandir(folder) as found:
        for entry in list(found):
            _remove(entry)


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        os.unlink(entry.path)  # noqa: PTH108
