"""What git says has changed between a revision and the working tree."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath

from sprue.errors import SprueError

NULL = "\0"


@dataclass(frozen=True)
class Changes:
    """`paths`: files that were changed, added or removed, relative to `root`, the checkout's top folder."""

    root: Path
    paths: frozenset[str]

    def of(self, path: Path, names: str = "") -> tuple[str, ...]:
        """The changed paths that are `path`, or lie in it if it is a folder, sorted.

        `names`: of a folder only the files in it whose names fit this pattern. git names a submodule as one
        path, so a change of a folder above counts, too.
        """
        place = self.relative(path)
        return () if place is None else _of(self, place, names)

    def relative(self, path: Path) -> str | None:
        """A path as git names it; None if it lies outside the checkout."""
        absolute = _resolved(path.parent) / path.name  # a link that is changed is a change of the link
        return absolute.relative_to(self.root).as_posix() if absolute.is_relative_to(self.root) else None


@cache  # thousands of recipes ask for the same targets, backends and folders
def _of(changes: Changes, place: str, names: str) -> tuple[str, ...]:
    above = {p.as_posix() for p in (PurePosixPath(place), *PurePosixPath(place).parents)} & changes.paths
    prefix = "" if place == "." else f"{place}/"
    below = {p for p in changes.paths if p.startswith(prefix)}
    if names:
        below = {p for p in below if "/" not in p[len(prefix) :] and fnmatch(p[len(prefix) :], names)}
    return tuple(sorted(above | below))


@cache
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def changes_since(folder: Path, revision: str) -> Changes:
    """The difference between the tree of `revision` and the working tree, files not added to git included.

    Raises SprueError when `folder` is in no checkout, or when git knows no such revision.
    """
    root = checkout(folder)
    if root is None:
        raise SprueError(
            "not in a git checkout, so there is nothing to compare with",
            where=str(folder),
            remedy="leave --since out to get the jobs for all recipes",
        )
    if _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}") is None:
        raise SprueError(
            f"git knows no revision '{revision}' here",
            where=str(root),
            remedy="fetch it first (a CI checkout is shallow: give actions/checkout fetch-depth: 0, GitLab "
            "GIT_DEPTH: 0), or leave --since out",
        )
    compared = ["diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", revision, "--"]
    untracked = ["ls-files", "--others", "--exclude-standard", "-z"]
    return Changes(root, frozenset(_paths(root, compared)) | frozenset(_paths(root, untracked)))


def checkout(folder: Path) -> Path | None:
    """The top folder of the checkout that `folder` is in; None if it is in none."""
    said = _git(folder, "rev-parse", "--show-toplevel")
    return Path(said.rstrip("\n")).resolve() if said else None


def head(folder: Path) -> str | None:
    """The commit that is checked out; None outside of a checkout, or before its first commit."""
    said = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    return said.strip() if said else None


def _paths(root: Path, arguments: Collection[str]) -> list[str]:
    said = _git(root, *arguments)
    if said is None:
        raise SprueError(f"`git {' '.join(arguments)}` failed", where=str(root))
    return [path for path in said.split(NULL) if path]


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None when it says no. Raises SprueError when there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False, timeout=120
        )
    except FileNotFoundError as error:
        raise SprueError("git is not installed", remedy="apt-get install git") from error
    return done.stdout.decode(errors="surrogateescape") if done.returncode == 0 else None
