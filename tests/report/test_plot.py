"""Axes and plots: round ticks, honest scales, the right front, labels that cover nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.report.axis import axis
from sprue.report.data import Reference, Report, TargetReport
from sprue.report.figures import LATENCY, SIZE, metric
from sprue.report.plot import BOTTOM, LEFT, LETTER, RIGHT, TOP, plot, plots

from .conftest import tried

METRIC = metric(Reference("accuracy", 0.9, 10))
sizes = st.integers(1, 2**40)
times = st.floats(1e-9, 1e5)
shares = st.floats(0, 1)


@given(st.lists(times, min_size=1, max_size=20))
def test_ticks_rise_lie_on_the_axis_and_read_back_as_their_value(values: list[float]) -> None:
    made = axis(LATENCY, values, 0, 100)
    assert 1 <= len(made.ticks) <= 9
    assert all(a.at < b.at for a, b in pairwise(made.ticks))
    assert all(-0.1 <= t.at <= 100.1 for t in made.ticks)
    assert len({t.text for t in made.ticks}) == len(made.ticks)
    assert all(0 <= made.at(v) <= 100 for v in values)


def test_a_cost_starts_at_zero_and_a_far_one_is_logarithmic_and_says_so() -> None:
    near, far = axis(SIZE, [1000, 2000], 0, 100), axis(SIZE, [1000, 200_000], 0, 100)
    assert (near.low, near.log) == (0, False)
    assert far.log
    assert "log scale" in far.label
    assert "KiB" in near.label
    assert [t.text for t in axis(SIZE, [40 * 1024, 100 * 1024], 0, 100).ticks] == [
        "0",
        "20",
        "40",
        "60",
        "80",
        "100",
    ]


def test_a_metric_axis_spans_what_there_is_to_see() -> None:
    made = axis(METRIC, [0.98, 0.99], 100, 0)
    assert 0.97 < made.low < 0.98
    assert 0.99 < made.high < 1
    assert made.at(0.99) < made.at(0.98)


@given(st.lists(st.tuples(sizes, times, shares, st.booleans()), min_size=2, max_size=12))
def test_marks_lie_in_the_frame_and_only_the_unbeaten_are_on_the_front(
    points: list[tuple[int, float, float, bool]],
) -> None:
    variants = tuple(
        tried(f"v{i}-int8", size=s, latency=t, metric=m, state="verified" if ok else "failed")
        for i, (s, t, m, ok) in enumerate(points)
    )
    made = plot(TargetReport("server", "linux", "x", variants, max_drop=0.1), LATENCY, METRIC)
    if made is None:
        assert len({p[1] for p in points}) < 2 or len({p[2] for p in points}) < 2
        return
    assert len(made.marks) == len(variants)
    for mark in made.marks:
        assert LEFT <= mark.x <= RIGHT
        assert TOP <= mark.y <= BOTTOM
        beaten = any(
            o.passed
            and o.latency <= mark.tried.latency  # type: ignore[operator]  # every variant here has both
            and o.metric >= mark.tried.metric  # type: ignore[operator]
            and (o.latency, o.metric) != (mark.tried.latency, mark.tried.metric)
            for o in variants
        )
        expected = "failed" if not mark.tried.passed else "passed" if beaten else "front"
        assert mark.kind == expected


def test_labels_that_show_cover_neither_each_other_nor_the_frame() -> None:
    variants = tuple(
        tried(f"runtime{i}-int8-static", size=1000 + i, latency=1e-5 + i * 1e-8) for i in range(30)
    )
    made = plot(TargetReport("server", "linux", "x", variants), SIZE, LATENCY)
    assert made is not None
    boxes = []
    for mark in made.marks:
        if mark.label.shown:
            width = len(mark.tried.variant) * LETTER
            left = mark.label.x - {"start": 0, "middle": width / 2, "end": width}[mark.label.anchor]
            boxes.append((left, mark.label.y - 10, left + width, mark.label.y + 3))
    assert boxes
    for i, a in enumerate(boxes):
        assert a[0] > LEFT
        assert a[3] < BOTTOM
        assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for b in boxes[i + 1 :])


def test_the_least_accepted_metric_is_drawn_where_the_recipe_puts_it(report: Report) -> None:
    drawn = plots(report.targets[0], (METRIC, SIZE, LATENCY))
    assert [p.title for p in drawn] == [
        "latency against size",
        "accuracy against latency",
        "accuracy against size",
    ]
    (rule,) = drawn[1].rules
    assert rule.y == drawn[1].y.at(0.98)


def test_a_metric_is_drawn_with_its_interval(report: Report) -> None:
    drawn = plots(report.targets[0], (METRIC, SIZE, LATENCY))[1]
    (kept,) = [m for m in drawn.marks if m.kind == "kept"]
    assert kept.error == (drawn.y.at(0.97), drawn.y.at(0.997))
    assert TOP <= kept.error[1] < kept.y < kept.error[0] <= BOTTOM


def test_what_does_not_differ_is_not_plotted(report: Report) -> None:
    assert plots(report.targets[1], (METRIC, SIZE, LATENCY)) == ()


@pytest.mark.parametrize("value", [0, 1])
def test_costs_of_nothing_have_an_axis(value: int) -> None:
    assert axis(SIZE, [0, value], 0, 100).ticks
