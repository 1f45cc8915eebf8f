"""Measurement: load time, latency and CPU time of loaded artifacts, on this machine.

The candidates of a target are timed in interleaved rounds, in an order drawn anew for each round, on the
quietest cores, so that whatever else the machine does meets all of them. `timing.py` says what follows from
the times.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sprue.border import as_deployed
from sprue.measuring.processors import Conditions, Watch
from sprue.measuring.timing import Timing, agree, undisputed

if TYPE_CHECKING:
    from sprue.backend import Runner, Samples

LOADS = 3
ROUNDS = 30
ROUNDS_ALONE = 12
"""What is timed alone is compared with nothing: a ratio of two needs more rounds than a latency. So many are
enough for rivals, too, if the same one was the fastest in every one of them.
"""
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
    """A loaded candidate, its samples one by one, and what was measured of it so far: the seconds of each
    run, the median of each round, and `cpu`, the core-seconds of all runs.
    """

    runner: Runner
    singles: list[Samples]
    threads: int
    load: float
    times: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    cpu: float = 0.0


def measure(
    candidates: Mapping[str, Candidate],
    samples: Samples,
    ask: Callable[[str, Runner], None] = lambda *_: None,
) -> tuple[dict[str, Timing], Conditions]:
    """Load each artifact anew and time it at batch 1, going round the samples; and what else went on.

    The first look at the processors takes a while. Meanwhile each artifact is loaded for the first time, with
    all that is imported on the way, and what is not timed may be asked of it.
    """
    if not candidates:
        return {}, Conditions()
    watch = Watch(max(c.threads for c in candidates.values()))
    try:
        for name, candidate in candidates.items():
            ask(name, candidate.load())
        watch.choose()
        timed = []
        for candidate in candidates.values():
            watch.pin(candidate.threads)
            timed.append(_load(candidate, samples))
        _rounds([*timed], watch)
    finally:
        conditions = watch.end()
    return dict(zip(candidates, map(_timing, timed), strict=True)), conditions


def _singles(samples: Samples) -> list[Samples]:
    count = min(len(next(iter(samples.values()))), MOST_SAMPLES)
    return [{n: np.ascontiguousarray(a[i : i + 1]) for n, a in samples.items()} for i in range(count)]


def _load(candidate: Candidate, samples: Samples) -> _Timed:
    seconds = []
    for _ in range(LOADS):
        started = time.perf_counter()
        runner = candidate.load()
        seconds.append(time.perf_counter() - started)
    bare, taken = as_deployed(runner, samples)
    return _Timed(bare, _singles(taken), candidate.threads, float(np.median(seconds)))


def _rounds(order: list[_Timed], watch: Watch) -> None:
    draw = random.Random(SEED)  # noqa: S311  # an order, no secret
    end = time.perf_counter() + SECONDS * len(order)
    for number in range(ROUNDS + 1):
        late = number > FEWEST_ROUNDS and time.perf_counter() > end
        if late or _enough([one.rounds for one in order], number - 1):
            break
        if number % SETTLE == 0:
            watch.settle()
        draw.shuffle(order)
        for one in order:
            watch.pin(one.threads)
            times, cpu = _round(one.runner, one.singles)
            if number:  # the first warms up: lazy allocations, branch predictors, the clock of the processor
                one.times += times
                one.rounds.append(float(np.median(times)))
                one.cpu += cpu


def _enough(timed: Sequence[Sequence[float]], rounds: int) -> bool:
    """Whether more than so many rounds would say nothing new of who is fastest, or of how fast the only one
    is.
    """
    if len(timed) == 1:
        return rounds >= ROUNDS_ALONE or (rounds >= FEWEST_ROUNDS and agree(timed[0]))
    return rounds == ROUNDS_ALONE and undisputed(timed)


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
    times, rounds = timed.times, tuple(timed.rounds)
    p50, p95 = (float(q) for q in np.quantile(times, [0.5, 0.95]))
    return Timing(timed.load, min(rounds), p50, p95, min(times), timed.cpu / len(times), len(times), rounds)
