"""Measurement: load time, latency and CPU time of loaded artifacts, on this machine.

The candidates of a target are timed in interleaved rounds, in an order drawn anew for each round, on the
quietest cores, so that whatever else the machine does meets all of them. `timing.py` says what follows from
the times.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sprue.measuring.processors import Conditions, Watch
from sprue.measuring.timing import Timing

if TYPE_CHECKING:
    from sprue.backend import Runner, Samples

LOADS = 3
ROUNDS = 30
ROUNDS_ALONE = 12
"""What is timed alone is compared with nothing: a ratio of two needs more rounds than a latency."""
FEWEST_ROUNDS = 7
ROUND_SECONDS = 0.008
ROUND_RUNS = 400
SECONDS = 5.0
"""For each candidate; slow ones get fewer rounds, but never fewer than FEWEST_ROUNDS."""
SETTLE = 5
"""Rounds between two looks at what else runs."""
SEED = 0
MOST_SAMPLES = 64


@dataclass(frozen=True)
class Candidate:
    """How to load an artifact, and the threads that it computes with."""

    load: Callable[[], Runner]
    threads: int = 1


@dataclass
class _Timed:
    """A loaded candidate and what was measured of it so far. `cpu` in core-seconds of all `times`."""

    runner: Runner
    threads: int
    load: float
    rounds: list[list[float]] = field(default_factory=list)
    cpu: float = 0.0


def measure(candidates: Mapping[str, Candidate], samples: Samples) -> tuple[dict[str, Timing], Conditions]:
    """Load each artifact anew and time it at batch 1, going round the samples; and what else went on."""
    if not candidates:
        return {}, Conditions()
    watch = Watch()
    try:
        timed = {}
        for name, candidate in candidates.items():
            watch.pin(candidate.threads)
            timed[name] = _load(candidate)
        _rounds(timed, _singles(samples), watch)
    finally:
        conditions = watch.end()
    return {name: _timing(t) for name, t in timed.items()}, conditions


def _singles(samples: Samples) -> list[Samples]:
    count = min(len(next(iter(samples.values()))), MOST_SAMPLES)
    return [{n: np.ascontiguousarray(a[i : i + 1]) for n, a in samples.items()} for i in range(count)]


def _load(candidate: Candidate) -> _Timed:
    candidate.load()  # what is imported on the way is paid here
    seconds = []
    for _ in range(LOADS):
        started = time.perf_counter()
        runner = candidate.load()
        seconds.append(time.perf_counter() - started)
    return _Timed(runner, candidate.threads, float(np.median(seconds)))


def _rounds(timed: Mapping[str, _Timed], singles: list[Samples], watch: Watch) -> None:
    order = list(timed.values())
    draw = random.Random(SEED)  # noqa: S311  # an order, no secret
    end = time.perf_counter() + SECONDS * len(order)
    rounds = ROUNDS if len(order) > 1 else ROUNDS_ALONE
    for number in range(rounds + 1):
        if number > FEWEST_ROUNDS and time.perf_counter() > end:
            break
        if number % SETTLE == 0:
            watch.settle()
        draw.shuffle(order)
        for one in order:
            watch.pin(one.threads)
            times, cpu = _round(one.runner, singles)
            if number:  # the first warms up: lazy allocations, branch predictors, the clock of the processor
                one.rounds.append(times)
                one.cpu += cpu


def _round(runner: Runner, singles: list[Samples]) -> tuple[list[float], float]:
    """Seconds of each run, and core-seconds of all. The first run finds the caches as its rival left them:
    it is not counted, unless one takes so long that this does not matter.
    """
    started = time.perf_counter()
    cpu = time.process_time()
    runner.run(singles[-1])
    first = time.perf_counter() - started
    if first > ROUND_SECONDS:
        return [first], time.process_time() - cpu
    times: list[float] = []
    cpu = time.process_time()
    end = time.perf_counter() + ROUND_SECONDS
    while not times or (len(times) < ROUND_RUNS and time.perf_counter() < end):
        sample = singles[len(times) % len(singles)]
        started = time.perf_counter()
        runner.run(sample)
        times.append(time.perf_counter() - started)
    return times, time.process_time() - cpu


def _timing(timed: _Timed) -> Timing:
    times = [t for times in timed.rounds for t in times]
    rounds = tuple(float(np.median(r)) for r in timed.rounds)
    p50, p95 = (float(q) for q in np.quantile(times, [0.5, 0.95]))
    cpu = timed.cpu / len(times)
    return Timing(timed.load, min(rounds), p50, p95, min(times), cpu, len(times), rounds)
