"""Reports to show: a plain one, and one whose every string is hostile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sprue.report.data import (
    Bound,
    Conditions,
    How,
    Operator,
    Overlap,
    Pair,
    Price,
    Reference,
    Report,
    TargetReport,
    Timing,
    Tried,
    Work,
)

Make = Callable[..., Tried]

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}|`](http://x.invalid)**\n# h"


def profiled() -> dict[str, Any]:
    """Twelve operators, of which one takes half; a metric with its interval; noisy times."""
    shares = [0.5, *([0.05] * 10), 0.0]
    operators = tuple(
        Operator(f"/layer{i}", "Conv" if i else "Gemm", s, 20e-6 * s) for i, s in enumerate(shares)
    )
    interval: dict[str, Any] = {
        "metric_low": 0.97,
        "metric_high": 0.997,
        "drop_at_most": 0.02,
        "proven": False,
    }
    noise = "other processes used 1.7 of 2 cores"
    interval |= {"bytes_moved": 142_032, "energy": 2.851e-6, "price": Price("EUR", 0.0123)}
    return {"operators": operators, "bound": Bound("Gemm", 0.5, 2.0), "noise": noise, **interval}


def timing(latency: float | None) -> Timing | None:
    """Thirty rounds without noise."""
    if latency is None:
        return None
    return Timing(1e-3, latency, 1.05 * latency, 1.5 * latency, latency, (latency,) * 30)


def tried(variant: str = "ort-float32", **values: Any) -> Tried:
    figures: dict[str, Any] = {"metric": 0.99, "drop": 0.0, "size": 50_000, "same_answer": 1.0}
    figures |= {"timing": timing(values.pop("latency", 20e-6)), "execution": "native"}
    how = How(*variant.partition("-")[::2])
    return Tried(
        "server",
        variant,
        values.pop("state", "verified"),
        values.pop("selected", False),
        how,
        **(figures | values),
    )


@pytest.fixture
def report() -> Report:
    """Two targets; on one, four variants that differ in everything."""
    variants = (
        tried("ort-float32", why="the fastest of 3 that passed", selected=True, **profiled()),
        tried("ort-int8-static", size=14_000, latency=25e-6, metric=0.985, drop=0.005),
        tried("ov-float32", size=100_000, latency=70e-6),
        tried(
            "ov-int8-dynamic",
            size=26_000,
            latency=50e-6,
            metric=0.9,
            drop=0.09,
            state="failed",
            why="too bad",
        ),
    )
    board = replace(
        tried(
            "c-int8-static",
            selected=True,
            why="the only candidate",
            latency=None,
            instructions=417_006,
            cycles=541_027,
            estimate=4.50856e-3,
            ram=3104,
        ),
        target="board",
    )
    conditions = Conditions((0, 1), 1.7, 0.003, "other processes used 1.7 of 2 cores")
    return Report(
        name="digits",
        version="1.0.0",
        id="",
        reference=Reference(
            "accuracy",
            0.99,
            360,
            evaluation="e" * 64,
            labels="1" * 64,
            overlap=Overlap((3, 4)),
            work=Work(233_930, 11_818),
        ),
        targets=(
            TargetReport("server", "linux", "x86_64", variants, "latency", 0.01, conditions),
            TargetReport("board", "none", "armv7em", (board,)),
        ),
        parity=(Pair("reference", "server", 1e-6, 1.0), Pair("reference", "board", 0.17, 0.995)),
        recipe={"model": "digits", "target.server.prefer": "latency"},
        toolchain={"onnx": "1.23.2"},
        machine="some machine, 2 cores",
    )


@pytest.fixture
def hostile(report: Report) -> Report:
    """The same, with hostile text wherever a stranger's bundle could put some."""
    server, board = report.targets
    spoiled: dict[str, Any] = {"noise": HOSTILE, "offered": HOSTILE, "bound": Bound(HOSTILE, 0.5, 2.0)}
    spoiled["operators"] = (Operator(HOSTILE, HOSTILE, 1.0, 1e-6),)
    variants = tuple(
        replace(
            t, variant=f"{HOSTILE}{i}", why=HOSTILE, execution=HOSTILE, notes={HOSTILE: HOSTILE}, **spoiled
        )
        for i, t in enumerate(server.tried)
    )
    assert report.reference is not None
    return replace(
        report,
        reference=replace(report.reference, metric=HOSTILE),
        targets=(
            replace(server, id=HOSTILE, os=HOSTILE, arch=HOSTILE, prefer=HOSTILE, tried=variants),
            board,
        ),
        parity=(Pair(HOSTILE, HOSTILE, 1.0, 0.5),),
        recipe={HOSTILE: HOSTILE},
        toolchain={HOSTILE: HOSTILE},
        machine=HOSTILE,
        revision=HOSTILE,
        created=HOSTILE,
    )
