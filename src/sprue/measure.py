"""Measurement: load time and latency of loaded artifacts, on this machine.

The candidates of a target are timed in interleaved rounds, so that whatever else the machine does meets all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sprue.backend import Runner, Samples

LOADS = 3
ROUNDS = 10
ROUND_SECONDS = 0.04
ROUND_RUNS = 200
MIN_ROUND_RUNS = 3


@dataclass(frozen=True)
class Latency:
    """Seconds. Latency is of one sample; load time is the median of a few loads, after the imports.

    `best` is the median of the best round: what the artifact needs when nothing else disturbs it.
    """

    load: float
    best: float
    p50: float
    p95: float
    minimum: float
    runs: int


def latencies(loads: Mapping[str, Callable[[], Runner]], samples: Samples) -> dict[str, Latency]:
    """Load each artifact anew and time it at batch 1, going round the samples."""
    loaded = {name: _load(load) for name, load in loads.items()}
    count = min(len(next(iter(samples.values()))), 64)
    singles: list[Samples] = [
        {n: np.ascontiguousarray(a[i : i + 1]) for n, a in samples.items()} for i in range(count)
    ]
    rounds: dict[str, list[list[float]]] = {name: [] for name in loads}
    for _ in range(ROUNDS + 1):
        for name, (runner, _) in loaded.items():
            rounds[name].append(_round(runner, singles))
    # The first round warms up: lazy allocations, branch predictors, the clock of the processor.
    return {name: _latency(loaded[name][1], rounds[name][1:]) for name in loads}


def _load(load: Callable[[], Runner]) -> tuple[Runner, float]:
    load()  # what is imported on the way is paid here
    seconds = []
    for _ in range(LOADS):
        started = time.perf_counter()
        runner = load()
        seconds.append(time.perf_counter() - started)
    return runner, float(np.median(seconds))


def _round(runner: Runner, singles: list[Samples]) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + ROUND_SECONDS
    while len(times) < MIN_ROUND_RUNS or (len(times) < ROUND_RUNS and time.perf_counter() < end):
        sample = singles[len(times) % len(singles)]
        started = time.perf_counter()
        runner.run(sample)
        times.append(time.perf_counter() - started)
    return times


def _latency(load: float, rounds: list[list[float]]) -> Latency:
    times = [t for times in rounds for t in times]
    best = min(float(np.median(r)) for r in rounds)
    p50, p95 = (float(q) for q in np.quantile(times, [0.5, 0.95]))
    return Latency(load, best, p50, p95, min(times), len(times))
