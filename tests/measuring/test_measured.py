"""Shares of operators, and Amdahl's bound, worked by hand."""

from __future__ import annotations

from sprue.backend import Operator
from sprue.measuring.measured import Measured, bound, shares

CONV = [Operator("a", "Conv", seconds=3e-6), Operator("b", "Conv", seconds=3e-6)]
GEMM = Operator("c", "Gemm", seconds=2e-6)


def test_shares_are_parts_of_the_whole() -> None:
    assert [s for _, s in shares([*CONV, GEMM])] == [0.375, 0.375, 0.25]
    assert shares([]) == []


def test_the_bound_is_amdahls_for_the_type_that_takes_most() -> None:
    """Convolutions take 6 of 8: without them the rest takes a quarter of the time."""
    assert bound([*CONV, GEMM]) == {"op": "Conv", "share": 0.75, "speedup": 4.0}


def test_one_operator_that_takes_everything_has_no_bound() -> None:
    assert bound(CONV) == {"op": "Conv", "share": 1.0, "speedup": None}


def test_where_the_runtime_tells_nothing_there_is_no_bound() -> None:
    assert bound([]) is None
    assert bound([Operator("a", "Conv", seconds=0.0)]) is None


def test_instructions_are_costs_as_seconds_are() -> None:
    counted = [Operator("a", "Conv", instructions=90), Operator("b", "Gemm", instructions=10)]
    assert bound(counted) == {"op": "Conv", "share": 0.9, "speedup": 10.0}


def test_what_was_not_measured_is_null() -> None:
    assert Measured().to_json() == {
        "timing": None,
        "noise": "",
        "peak_memory": None,
        "start_memory": None,
        "operators": [],
        "bound": None,
    }
