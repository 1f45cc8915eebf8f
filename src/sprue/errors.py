"""What sprue says when something is wrong: what, where, and what to do about it.

Every error that a person can cause is a `SprueError`; it is printed without a traceback. Anything else that
escapes is a bug of ours, and is shown with one.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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


def _rebuild(kind: type[SprueError], what: str, where: str, remedy: str) -> SprueError:
    return kind(what, where=where, remedy=remedy)


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """`did you mean 'x'? allowed: a, b, x`, or only the allowed names when none is near."""
    choices = sorted(allowed)
    near = get_close_matches(name, choices, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}allowed: {', '.join(choices) or 'nothing'}"
