"""Two reports side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sprue.report.data import Report
from sprue.report.versus import Row, versus

from .conftest import timing


def rows(before: Report, after: Report) -> dict[tuple[str, str], Row]:
    return {(r.target, r.figure.key): r for t in versus(before, after).targets for r in t.rows}


def spoiled(report: Report, **figures: object) -> Report:
    server, board = report.targets
    if "latency" in figures:
        figures["timing"] = timing(figures.pop("latency"))  # type: ignore[arg-type]  # a number
    kept = replace(server.tried[0], **figures)  # type: ignore[arg-type]  # fields of Tried
    return replace(report, targets=(replace(server, tried=(kept, *server.tried[1:])), board))


@pytest.mark.parametrize(
    ("figure", "value", "worse", "change"),
    [
        ("size", 55_000, 0.1, "+10.0 %"),
        ("size", 50_000, 0.0, "same"),
        ("size", 25_000, -0.5, "-50.0 %"),
        ("latency", 30e-6, 0.5, "+50.0 %"),
        ("metric", 0.97, 0.02, "-0.0200"),
    ],
)
def test_worse_is_positive_whatever_the_figure(
    report: Report, figure: str, value: float, worse: float, change: str
) -> None:
    row = rows(report, spoiled(report, **{figure: value}))["server", figure]
    assert row.worse == pytest.approx(worse)
    assert row.change == change


def test_times_of_another_machine_are_not_compared(report: Report) -> None:
    found = rows(replace(report, machine="another"), report)
    assert found["server", "latency"].worse is None
    assert found["server", "latency"].note == "measured on another machine"
    assert found["board", "instructions"].worse == 0


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"metric": "f1"}, "the metrics are f1 and accuracy"),
        ({"evaluation": "0" * 64}, ""),
        ({"evaluation": "0" * 64, "labels": "0" * 64}, "the evaluation data differ"),
        ({"evaluation": "", "labels": ""}, "the evaluation data differ"),
    ],
)
def test_metrics_are_compared_only_if_the_same_was_asked(
    report: Report, fields: dict[str, str], note: str
) -> None:
    assert report.reference is not None
    before = replace(report, reference=replace(report.reference, **fields))  # type: ignore[arg-type]  # all text
    assert rows(before, report)["server", "metric"].note == note


def test_targets_that_came_and_went_are_there_with_one_side(report: Report) -> None:
    one, two = (replace(report, targets=(t,)) for t in report.targets)
    found = versus(one, two)
    assert [(t.id, t.before is None, t.after is None) for t in found.targets] == [
        ("board", True, False),
        ("server", False, True),
    ]
    assert all(r.worse is None for t in found.targets for r in t.rows)
