"""What the machine's processors do, from Linux's /proc/stat: who else uses them, and which are free.

Elsewhere nothing is known: no processor is pinned, and `Conditions` say so.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
LOOK = 0.05
"""Seconds that a first look at the processors takes; they are counted in hundredths of a second."""
BUSY_CORE = 0.05
BUSY_MACHINE = 0.10
STOLEN = 0.02
"""Shares of the time above which a measurement is called noisy."""


@dataclass(frozen=True)
class Use:
    """Seconds since the machine started that a core was busy, and that a hypervisor gave it to others."""

    busy: float
    stolen: float


@dataclass(frozen=True)
class Conditions:
    """What went on while something was measured.

    `others`: cores' worth of time that other processes used, on the whole machine; `beside` the same on the
    `cores` that the measurement was pinned to. `stolen`: the share of the time that a hypervisor took. All
    None where unknown. `load_before`, `load_after`: the system's load average over a minute.
    """

    cores: tuple[int, ...] = ()
    others: float | None = None
    beside: float | None = None
    stolen: float | None = None
    load_before: float | None = None
    load_after: float | None = None
    noise: str = ""
    """Why the times are noisy; "" if they are not."""


def uses() -> dict[int, Use]:
    """Each core's use so far; {} where it is not known."""
    try:
        text = STAT.read_text()
        tick = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return {}
    found = {}
    for core, values in re.findall(r"^cpu(\d+) ([\d ]+)$", text, re.MULTILINE):
        user, nice, system, _idle, _wait, irq, soft, stolen, *_ = (int(v) / tick for v in values.split())
        found[int(core)] = Use(user + nice + system + irq + soft, stolen)
    return found


def allowed() -> tuple[int, ...]:
    """The cores that this process may use; () where processes cannot be pinned."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def quietest(before: Mapping[int, Use], after: Mapping[int, Use], among: Collection[int]) -> list[int]:
    """`among`, least used by anything between two looks first."""
    return sorted(
        among, key=lambda c: (after[c].busy - before[c].busy if c in before and c in after else 0.0, c)
    )


def without(now: Mapping[int, Use], cores: Collection[int], seconds: float) -> dict[int, Use]:
    """`now`, less the seconds that this process was busy itself on `cores`."""
    return {
        core: Use(use.busy - seconds / len(cores), use.stolen) if core in cores else use
        for core, use in now.items()
    }


def pin(cores: Collection[int]) -> None:
    """Keep every thread of this process on `cores`."""
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except OSError:
            continue  # a thread that has ended meanwhile


def _here() -> int | None:
    """The core that the system has put this process on; None where it does not tell."""
    try:
        return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[36])
    except (OSError, ValueError, IndexError):
        return None


def own_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Watch:
    """Watches the processors during a measurement, and keeps it on the quietest.

    The first look takes LOOK seconds, from the beginning to `choose`. Meanwhile this process stays on
    `threads` cores and may do what it likes: what it uses of them itself is known. `settle` moves to other
    cores when what else runs has come to ours.
    """

    def __init__(self, threads: int = 1) -> None:
        self._allowed = allowed()
        here = _here()
        self._order = sorted(self._allowed, key=lambda core: core != here)
        self._start = self._last = uses()
        self._own = self._settled = own_seconds()
        self._began = self._looked = time.perf_counter()
        self._load = _load()
        self._beside = 0.0
        self._widest = threads
        self._used: dict[int, None] = {}
        if self._allowed:
            pin(self._order[:threads])

    def choose(self) -> None:
        """End the first look, and order the cores by what others did on them."""
        left = LOOK - (time.perf_counter() - self._began)
        if left > 0 and len(self._allowed) > 1 and self._start:
            time.sleep(left)
        others = without(uses(), self._order[: self._widest], own_seconds() - self._own)
        self._order = quietest(self._start, others, self._allowed)
        self.settle()

    def pin(self, threads: int) -> None:
        """Keep this process on as many cores as it has threads that compute."""
        if self._allowed:
            cores = self._order[:threads]
            self._widest = max(self._widest, threads)
            self._used |= dict.fromkeys(cores)
            pin(cores)

    def settle(self) -> None:
        """Count what others did beside us since the last call, and order the cores anew if it was much."""
        now, own, at = uses(), own_seconds(), time.perf_counter()
        if not now or not self._allowed or at - self._looked < LOOK:
            return
        ours = self._order[: max(1, self._widest)]
        busy = sum(now[c].busy - self._last[c].busy for c in ours if c in now and c in self._last)
        beside = max(0.0, busy - (own - self._settled))
        if beside > BUSY_CORE * (at - self._looked) * len(ours):
            spare = [c for c in quietest(self._last, now, self._allowed) if c not in ours]
            self._order = [*spare, *ours]
        self._beside += beside
        self._last, self._settled, self._looked = now, own, at

    def end(self) -> Conditions:
        """Let this process use all its cores again. What went on meanwhile."""
        self.settle()
        if self._allowed:
            pin(self._allowed)
        now, wall = uses(), max(time.perf_counter() - self._began, 1e-9)
        before, after = self._load, _load()
        if not now or not self._start:
            return Conditions(tuple(self._used), load_before=before, load_after=after)
        known = [c for c in now if c in self._start]
        busy = sum(now[c].busy - self._start[c].busy for c in known)
        stolen = sum(now[c].stolen - self._start[c].stolen for c in known) / wall / len(known)
        others = max(0.0, (busy - (own_seconds() - self._own)) / wall)
        beside = self._beside / wall
        why = noise(others, beside / max(1, self._widest), stolen, len(known))
        return Conditions(
            tuple(self._used), round(others, 2), round(beside, 2), round(stolen, 3), before, after, why
        )


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def noise(others: float, beside: float, stolen: float, cores: int) -> str:
    """Why times are not to be trusted; "" if they are. See `Conditions`; `beside` for each core of ours."""
    if others > BUSY_MACHINE * cores or beside > BUSY_CORE:
        return f"other processes used {others:.1f} of {cores} cores"
    return f"the hypervisor took {100 * stolen:.0f} % of the time" if stolen > STOLEN else ""
