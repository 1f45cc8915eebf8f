"""What a node of a Ray cluster does for a build: lay out the inputs, run the action, send back what it made.

Nothing here imports Ray. The action runs where it always does, in a warm worker process of a `Pool`, which
here has one worker and belongs to one of Ray's own processes. So an action that crashes is an answer, given
once and by name; what Ray sees as a failure is the loss of its own process or node, and is for Ray to retry.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from sprue.durable import owned_folder, sweep
from sprue.engine.job import ActionFailed, Request
from sprue.engine.pool import Pool

LARGEST = 2 << 30
"""Bytes of one input, or of all that one action makes: each is held in memory on its way."""
LOG_TAIL = 1 << 20
PREFIX = "sprue-ray-"

Facts = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Tree:
    """A file or folder by its content. `files` maps paths below it to bytes; a file is its own path ""."""

    name: str
    files: Mapping[str, bytes]

    def lay_out(self, folder: Path) -> Path:
        """Write it into `folder` under its own name, and return its path."""
        root = folder / self.name
        if "" in self.files:
            folder.mkdir(parents=True)
            root.write_bytes(self.files[""])
            return root
        root.mkdir(parents=True)
        write_files(self.files, root)
        return root


@dataclass(frozen=True)
class Task:
    """A `Request` without paths. `facts()` on the node must say what `expected` says: see `differences`."""

    function: str
    inputs: tuple[str, ...]
    params: Mapping[str, Any]
    timeout: float
    threads: int
    facts: Facts
    expected: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What the action made, or why it failed and the end of what it printed."""

    seconds: float = 0.0
    files: Mapping[str, bytes] = field(default_factory=dict)
    failure: ActionFailed | None = None
    log: bytes = b""


def perform(task: Task, *trees: Tree) -> Answer:
    """Run the action here. `trees` are the contents of `task.inputs`, in order. The task that Ray runs."""
    if found := differences(task.expected, _facts(task.facts)):
        return Answer(failure=unlike(platform.node(), found))
    _sweep_once()
    with owned_folder(Path(tempfile.gettempdir()), PREFIX) as work:
        work.chmod(0o700)
        paths = {
            name: str(tree.lay_out(work / "inputs" / name))
            for name, tree in zip(task.inputs, trees, strict=True)
        }
        out, log = work / "out", work / "log"
        out.mkdir()
        try:
            request = Request(task.function, paths, task.params, str(out), str(log))
            seconds = _pool(task.threads).call(request, task.timeout)
            return Answer(seconds, read_files(out))
        except ActionFailed as error:
            return Answer(failure=error, log=_tail(log))


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What differs between two machines, a line each: the second is held against the first."""
    absent = "(none)"
    return [
        f"{name}: {found.get(name, absent)} instead of {expected.get(name, absent)}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def unlike(node: str, found: list[str]) -> ActionFailed:
    """The error for a node that would make something else than this machine under the same key."""
    return ActionFailed(
        f"the node is not like the machine that builds: {'; '.join(found)}",
        where=f"Ray node {node}",
        remedy="install the same there, or take it out of the cluster",
    )


def read_tree(path: Path) -> Tree:
    """A file or a folder as it is to travel. Raises ActionFailed when it is too large."""
    if path.is_dir():
        return Tree(path.name, read_files(path))
    _refuse_large(path.stat().st_size)
    return Tree(path.name, {"": path.read_bytes()})


def read_files(folder: Path) -> dict[str, bytes]:
    """All files below `folder`, by relative path. Raises ActionFailed for what is too large or not plain."""
    files: dict[str, bytes] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ActionFailed(f"it wrote {name}, which is no plain file")
        if path.is_file():
            total += path.stat().st_size
            _refuse_large(total)
            files[name] = path.read_bytes()
    return files


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """The reverse of `read_files`. Raises ActionFailed for a path that leaves the folder."""
    for name, data in files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise ActionFailed(f"the path {name!r} leaves its folder")
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _refuse_large(size: int) -> None:
    if size > LARGEST:
        raise ActionFailed(
            f"{size:,} bytes are too many to travel between machines: at most {LARGEST:,}",
            remedy="build this recipe with --executor local",
        )


@cache
def _pool(threads: int) -> Pool:
    """The worker of this process. It ends with the process: its standard input closes then."""
    return Pool(1, threads)


@cache
def _facts(facts: Facts) -> Mapping[str, str]:
    return facts()


@cache
def _sweep_once() -> None:
    """Remove what tasks left here whose process was killed."""
    sweep(Path(tempfile.gettempdir()), PREFIX)


def _tail(log: Path) -> bytes:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - LOG_TAIL))
            return stream.read()
    except OSError:
        return b""
