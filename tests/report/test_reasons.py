"""Why a variant was not kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sprue.report.data import TargetReport, Tried
from sprue.report.reasons import reason

from .conftest import tried

KEPT = tried("ort-float32", selected=True, why="the fastest of 2 that passed")


@pytest.mark.parametrize(
    ("prefer", "other", "said"),
    [
        ("latency", tried("a-int8", latency=26e-6), "1.30x slower: 26.0 µs against 20.0 µs"),
        (
            "latency",
            tried("a-int8", latency=20.3e-6, size=60_000),
            "as fast, as far as can be told; 20.0 % larger: 58.6 KiB against 48.8 KiB",
        ),
        (
            "latency",
            tried("a-int8", latency=19e-6, size=60_000),
            "as fast, as far as can be told; 20.0 % larger: 58.6 KiB against 48.8 KiB",
        ),
        ("size", tried("a-int8", size=60_000), "20.0 % larger: 58.6 KiB against 48.8 KiB"),
        ("size", tried("a-int8"), "no better, and later in the recipe"),
        ("cost", tried("a-int8", latency=30e-6), "1.50x the core-seconds: 30.0 µs against 20.0 µs"),
        ("metric", tried("a-int8", drop=0.004), "its metric is 0.0040 worse"),
        ("latency", tried("a-int8", state="failed", why="it is wrong"), "it is wrong"),
        ("latency", tried("a-int8", state="prepared"), "prepared only: it was not executed, ort-float32 was"),
        (
            "latency",
            tried("a-int8", latency=None, instructions=300),
            "3.00x the instructions: 300 against 100",
        ),
    ],
)
def test_a_loser_gets_its_reason_in_numbers(prefer: str, other: Tried, said: str) -> None:
    kept = KEPT if other.instructions is None else replace(KEPT, timing=None, instructions=100)
    assert reason(other, TargetReport("server", "linux", "x", (kept, other), prefer)) == said


def test_the_winner_keeps_its_own() -> None:
    assert reason(KEPT, TargetReport("server", "linux", "x", (KEPT,))) == "the fastest of 2 that passed"
