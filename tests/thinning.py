"""The part of a long list that one run of the slow tests takes: another one at each commit, or all of it.

A commit takes the same part on every machine and each time, so what failed fails again. SPRUE_TEST_WHOLE=1
takes everything: before a release, and after a change to what the list is about.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

WHOLE = os.environ.get("SPRUE_TEST_WHOLE") == "1"


def every(parts: int) -> tuple[int, int]:
    """The step, and the first place, of one in `parts`: (1, 0) when all is asked for."""
    return (1, 0) if WHOLE else (parts, commit() % parts)


def thinned(things: Sequence[T], parts: int) -> list[T]:
    """One in `parts` of them, in their order. All parts together are all things."""
    step, first = every(parts)
    return list(things[first::step])


@cache
def commit() -> int:
    """A number that the commit decides; 0 where there is no git."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(done.stdout.strip()[:15], 16)
