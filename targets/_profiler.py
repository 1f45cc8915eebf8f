"""What the runtimes' profilers share: how often to run, and the mean over the runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sprue.backend import Operator

SECONDS = 0.1
MOST_RUNS = 200
FEWEST_RUNS = 3


def repeat(run: Callable[[], object]) -> int:
    """Call `run` for about SECONDS; how often it was called."""
    end = time.perf_counter() + SECONDS
    runs = 0
    while runs < FEWEST_RUNS or (runs < MOST_RUNS and time.perf_counter() < end):
        run()
        runs += 1
    return runs


def total(events: Iterable[tuple[str, str, float]], runs: int) -> tuple[Operator, ...]:
    """(name, type, seconds) of what ran in `runs` runs -> the seconds of one run, by name and type.

    A tenth of each node's durations, the longest, is left out: a node that was interrupted once for
    milliseconds would seem to be the slowest of all.
    """
    durations: dict[tuple[str, str], list[float]] = {}
    for name, op, duration in events:
        durations.setdefault((name, op), []).append(duration)
    made = []
    for (name, op), all_of_it in durations.items():
        kept = sorted(all_of_it)[: max(1, len(all_of_it) * 9 // 10)]
        made.append(Operator(name, op, seconds=sum(kept) / len(kept) * len(all_of_it) / runs))
    return tuple(made)


def counted(
    run: Callable[[], object], counters: Callable[[], Iterable[tuple[str, str, float]]]
) -> tuple[Operator, ...]:
    """For runtimes whose `counters` tell of the last run: (name, type, seconds). The first run warms up."""
    run()
    events: list[tuple[str, str, float]] = []

    def once() -> None:
        run()
        events.extend(counters())

    return total(events, repeat(once))
