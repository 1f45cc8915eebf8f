"""What sprue says when something is wrong: what, where, and what to do about it.

Every error that a person can cause is a `SprueError`; it is printed without a traceback. Anything else that
escapes is a bug of ours, and is shown with one.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 40
"""Allowed names that are listed, of ten thousand bundles or so."""


class SprueError(Exception):
    """Something the user can put right. `exit_code` is 2: the question was wrong."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{advice}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.remedy)


class CheckError(SprueError):
    """The question was right and the answer is no: a check, a limit or a gate failed. Exit code 1."""

    exit_code = 1


def refused(what: str, error: OSError, where: object) -> SprueError:
    """What the operating system would not do at `where`, with a remedy where one is known."""
    return SprueError(f"{what}: {error.strerror or error}", where=str(where), remedy=advice(error))


def advice(error: OSError) -> str:
    """What to do when the operating system said no; "" where that depends on what was asked."""
    return _ADVICE.get(error.errno or 0, "")


FULL = "free some space, or name a place on another disk"
_ADVICE = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: "name a place that can be written",
    errno.EACCES: "name another place, or let this user in there",
    errno.EPERM: "name another place, or let this user in there",
    errno.ENOENT: "name a folder that is there, or make it first",
    errno.EISDIR: "a folder is there: name a file",
    errno.ENOTDIR: "a file is there: name a folder",
    errno.EEXIST: "a file is there: name a folder",
}


def _rebuild(kind: type[SprueError], what: str, where: str, remedy: str) -> SprueError:
    return kind(what, where=where, remedy=remedy)


def did_you_mean(name: str, allowed: Iterable[str], *, none: str = "allowed: nothing") -> str:
    """`did you mean 'x'? allowed: a, b, x`, or only the allowed names when none is near.

    Of very many the first ones are named. `none`: what to say instead when nothing is allowed.
    """
    choices = sorted(allowed)
    if not choices:
        return none
    near = get_close_matches(name, choices, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    more = f", and {len(choices) - SHOWN} more" if len(choices) > SHOWN else ""
    return f"{hint}allowed: {', '.join(choices[:SHOWN])}{more}"
