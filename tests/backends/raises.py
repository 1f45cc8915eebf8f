"""Has a bug of its own."""

from __future__ import annotations

from ._faults import Faulty


def fail() -> None:
    raise ZeroDivisionError("of its own making")


BACKEND = Faulty("raises", fail)
