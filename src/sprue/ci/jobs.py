"""From (recipes, targets, changes, durations) to jobs. A job builds some recipes for one target.

All of it is a pure function: the same arguments give the same jobs, on any machine. A target's recipes are
dealt to its jobs longest first, each to the job that has least to do (Graham's LPT rule: the longest job
takes at most 4/3 of what the best division would need).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sprue.errors import SprueError

MOST_JOBS = 256
"""GitHub's limit for one matrix."""


@dataclass(frozen=True)
class Unit:
    """One recipe for one target. `recipe`: its file. `seconds`: what it took before; None: not known."""

    recipe: str
    target: str
    runner: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Job:
    """Shard number `shard` of `of` for a target. `seconds`: expected, 0.0 when nothing is known."""

    target: str
    shard: int
    of: int
    units: tuple[Unit, ...]
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.target} {self.shard}/{self.of}"

    @property
    def runner(self) -> tuple[str, ...]:
        return self.units[0].runner


def jobs(units: Sequence[Unit], most: int = MOST_JOBS) -> list[Job]:
    """At most `most` jobs for all units, by target and number; a job for each unit where that is few enough.

    A unit that never ran counts as the median of those that did. Raises SprueError when there are more
    targets than jobs.
    """
    cost = _costs(units)
    by_target: dict[str, list[Unit]] = {}
    for unit in sorted(units, key=lambda u: (u.target, u.recipe)):
        by_target.setdefault(unit.target, []).append(unit)
    counts = _counts({t: (len(u), sum(cost[x] for x in u)) for t, u in by_target.items()}, most)
    known = any(u.seconds is not None for u in units)
    made = []
    for target, mine in by_target.items():
        for number, part in enumerate(split(mine, counts[target], cost), 1):
            seconds = round(sum(cost[u] for u in part), 3) if known else 0.0
            made.append(Job(target, number, counts[target], tuple(part), seconds))
    return made


def split(units: Sequence[Unit], count: int, cost: Mapping[Unit, float] | None = None) -> list[list[Unit]]:
    """Deal units to `count` parts, so that the longest takes little longer than it must."""
    cost = cost if cost is not None else _costs(units)
    parts: list[list[Unit]] = [[] for _ in range(count)]
    loads = [(0.0, 0, number) for number in range(count)]
    for unit in sorted(units, key=lambda u: (-cost[u], u.recipe)):
        load, size, number = heapq.heappop(loads)
        parts[number].append(unit)
        heapq.heappush(loads, (load + cost[unit], size + 1, number))
    return [sorted(part, key=lambda u: u.recipe) for part in parts]


def _costs(units: Sequence[Unit]) -> dict[Unit, float]:
    known = [u.seconds for u in units if u.seconds is not None]
    usual = median(known) if known else 1.0
    return {u: u.seconds if u.seconds is not None else usual for u in units}


def _counts(loads: Mapping[str, tuple[int, float]], most: int) -> dict[str, int]:
    """How many jobs each target gets; `loads`: target -> (units, seconds). Busy targets get more."""
    if len(loads) > most:
        raise SprueError(
            f"{len(loads)} targets need as many jobs, and at most {most} are allowed",
            remedy="raise --max-jobs, or name fewer recipes",
        )
    counts = dict.fromkeys(loads, 1)
    heap = [(-seconds, target) for target, (units, seconds) in loads.items() if units > 1]
    heapq.heapify(heap)
    for _ in range(most - len(loads)):
        if not heap:
            break
        _, target = heapq.heappop(heap)
        counts[target] += 1
        units, seconds = loads[target]
        if counts[target] < units:
            heapq.heappush(heap, (-seconds / counts[target], target))
    return counts
