"""What gains nothing against float is refused with its figures; what came nearest is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sprue.backend import Variant
from sprue.choosing.select import Result, nearest, select
from sprue.choosing.worth import weighed
from sprue.evidence import unmeasured
from sprue.measuring.measured import Measured
from sprue.measuring.timing import Timing
from sprue.target import Target
from sprue.variant import Compression, Settings

TARGET = Target("box", "a box", ("null",), "linux", "any")
FLOAT = Variant(TARGET, "null", "float32")
INT8 = replace(FLOAT, precision="int8-static")


def result(variant: Variant, seconds: float | None = None, size: int = 1000, **values: Any) -> Result:
    rounds = () if seconds is None else (seconds,) * 20
    timing = None if seconds is None else Timing(0.1, seconds, seconds, seconds, seconds, seconds, 20, rounds)
    return Result(variant, **{"state": "verified", "size": size, "measured": Measured(timing), **values})


@pytest.mark.parametrize(
    ("int8", "state"),
    [
        (result(INT8, 1.5, 1100), "refused"),
        (result(INT8, 1.0, 1000), "refused"),
        (result(INT8, 1.5, 999), "verified"),
        (result(INT8, 0.5, 5000), "verified"),
        (result(INT8, 1.0, 1000, state="prepared"), "refused"),
        (result(INT8, 1.5, 1100, state="failed", reason="bad"), "failed"),
        (result(INT8, None, 1000, instructions=90), "verified"),
        (result(replace(FLOAT, compression=Compression(sparsity=0.5)), 1.0), "refused"),
        (result(FLOAT.on(Settings(threads=2)), 3.0), "verified"),
    ],
)
def test_a_variant_has_to_be_faster_or_smaller_than_float(int8: Result, state: str) -> None:
    _, judged = weighed([result(FLOAT, 1.0, instructions=100), int8], "latency")
    assert judged.state == state


def test_the_reason_has_the_figures() -> None:
    _, judged = weighed([result(FLOAT, 1.0), result(INT8, 1.5, 1100)], "latency")
    assert judged.reason == (
        "not worth it: neither faster nor smaller than null-float32 "
        "(1.50 times its latency, 1100 bytes instead of 1000)"
    )
    assert select([judged], "latency") is None


def test_what_was_refused_is_evidence_as_it_stood_since_a_bundles_id_covers_no_time() -> None:
    lost = result(INT8, 1.5, 1100, state="prepared")
    _, judged = weighed([result(FLOAT, 1.0), lost], "latency")
    assert unmeasured(judged) == lost
    assert unmeasured(lost) == lost


def test_a_better_metric_is_a_gain_where_it_is_asked_for() -> None:
    rivals = [result(FLOAT, 1.0, drop=0.0), result(INT8, 2.0, drop=-0.01)]
    assert weighed(rivals, "metric")[1].state == "verified"
    assert weighed(rivals, "latency")[1].state == "refused"


def test_without_float_there_is_nothing_to_hold_it_against() -> None:
    rivals = [result(FLOAT, 1.0, state="failed"), result(INT8, 9.0, 9000)]
    assert weighed(rivals, "latency") == rivals


def test_the_nearest_of_those_that_failed_needs_the_least_more() -> None:
    far, near = (result(INT8, state="failed", over=over) for over in (3.0, 1.1))
    broken = result(INT8, state="failed", broken=True)
    assert nearest([far, broken, near]) is near
    assert nearest([broken]) is None
