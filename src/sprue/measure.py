"""Measurement: load time and latency of a loaded artifact, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sprue.backend import Runner, Samples

WARM_UP_SECONDS = 0.1
SECONDS = 0.5
MAX_RUNS = 2000
MIN_RUNS = 20
LOADS = 3


@dataclass(frozen=True)
class Latency:
    """Seconds. Latency is of one sample; load time is the median of a few loads."""

    load: float
    p50: float
    p95: float
    minimum: float
    runs: int


def latency(load: Callable[[], Runner], samples: Samples) -> Latency:
    """Load the artifact anew and time it at batch 1, going round the samples."""
    loads = []
    for _ in range(LOADS):
        started = time.perf_counter()
        runner = load()
        loads.append(time.perf_counter() - started)
    count = len(next(iter(samples.values())))
    singles = [
        {n: np.ascontiguousarray(a[i : i + 1]) for n, a in samples.items()} for i in range(min(count, 64))
    ]
    _run_for(runner, singles, WARM_UP_SECONDS)
    times = _run_for(runner, singles, SECONDS)
    p50, p95 = (float(q) for q in np.quantile(times, [0.5, 0.95]))
    return Latency(float(np.median(loads)), p50, p95, min(times), len(times))


def _run_for(runner: Runner, singles: list[Samples], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (time.perf_counter() < end or len(times) < MIN_RUNS) and len(times) < MAX_RUNS:
        sample = singles[len(times) % len(singles)]
        started = time.perf_counter()
        runner.run(sample)
        times.append(time.perf_counter() - started)
    return times


def folder_bytes(folder: Path) -> int:
    """The size of an artifact: of all its files."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
