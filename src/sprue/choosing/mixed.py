"""Mixed precision: the fewest layers that must stay in float for an int8 variant to keep what is accepted.

The layers are ranked once (`sensitivity.py`); sets are beginnings of that ranking. How many are needed is
found by doubling until a set passes, then by halving the interval: each probe is a variant like any other.
"""

from __future__ import annotations

from collections.abc import Mapping


def next_count(layers: int, passed: Mapping[int, bool]) -> int | None:
    """How many of `layers` to leave in float next; None when that is settled.

    `passed`: number -> whether it kept what is accepted; 0, full int8, is known to have failed. All layers
    in float is no int8 and is never asked for. More in float is taken to be better: where it is not, the
    result still passes, and only may not be the smallest.
    """
    failed = max((n for n, held in passed.items() if not held), default=0)
    held = min((n for n, held in passed.items() if held and n > 0), default=None)
    if held is None:
        following = min(max(1, 2 * failed), layers - 1)
        return following if following > failed else None
    failed = max((n for n, ok in passed.items() if not ok and n < held), default=0)
    return (failed + held) // 2 if held - failed > 1 else None
