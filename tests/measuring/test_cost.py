"""Bytes, energy and prices worked by hand."""

from __future__ import annotations

import pytest

from sprue.measuring.cost import CACHE_BYTES, cost, per_million
from sprue.measuring.price import Price
from sprue.measuring.timing import Timing
from sprue.measuring.work import Work

SMALL = Work(macs=1000, parameters=110, weights=100, activations=50, other_bytes=8)


def timing(cpu: float) -> Timing:
    return Timing(0.1, 1e-3, 1e-3, 1e-3, 1e-3, cpu, 100, (1e-3,))


def test_bytes_are_as_wide_as_the_precision_makes_weights_and_activations() -> None:
    found = {p: cost(SMALL, p).bytes_moved for p in ("float32", "float16", "int8-dynamic", "int8-static")}
    assert found == {
        "float32": 400 + 200 + 8,
        "float16": 200 + 100 + 8,
        "int8-dynamic": 100 + 200 + 8,
        "int8-static": 100 + 50 + 8,
    }


def test_energy_is_arithmetic_and_bytes_and_large_weights_come_from_memory() -> None:
    assert cost(SMALL, "float32").energy == pytest.approx((1000 * 4.6 + 608 * 12.5) * 1e-12, rel=1e-3)
    large = Work(macs=0, parameters=CACHE_BYTES, weights=CACHE_BYTES, activations=0, other_bytes=0)
    assert cost(large, "int8-static").energy == pytest.approx(CACHE_BYTES * 12.5e-12, rel=1e-3)
    assert cost(large, "float16").energy == pytest.approx(2 * CACHE_BYTES * 244e-12, rel=1e-3)


def test_what_is_not_known_costs_nothing_known() -> None:
    assert cost(Work(unknown="free axes"), "float32").bytes_moved is None
    assert per_million(None, timing(1.0)) is None
    assert per_million(Price(1.0, "EUR"), None) is None


def test_a_million_inferences_of_a_core_second_are_277_core_hours() -> None:
    assert per_million(Price(0.036, "EUR"), timing(1.0)) == {"currency": "EUR", "amount": 10.0}
