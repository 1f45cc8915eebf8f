"""Two models of one task side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sprue.errors import SprueError
from sprue.judging.metric import METRICS
from sprue.report.compare import Margin, compare
from sprue.report.data import Report
from sprue.report.margins import paired
from sprue.report.page import comparison

from .conftest import timing
from .test_page import Tags


def other(report: Report, **fields: Any) -> Report:
    """Another model of the same task: better, larger and slower."""
    server, board = report.targets
    kept = replace(server.tried[0], metric=0.995, size=150_000, timing=timing(50e-6))
    return replace(report, name="large", targets=(replace(server, tried=(kept,)), board), **fields)


def test_quality_is_set_against_cost_target_by_target(report: Report) -> None:
    made = compare(report, other(report), {"server": Margin(0.001, 0.009)})
    assert made.names == ("digits", "large")
    server, board = made.tasks
    assert server.verdict == (
        "0.0050 better in accuracy (95 %: +0.0010 to +0.0090); 3.00x the size; 2.50x the latency; "
        "2.50x the core-seconds"
    )
    assert board.verdict == "nothing that can be compared differs"
    rows = {(r["target"], r["figure"]): r for r in made.json()["rows"]}  # type: ignore[attr-defined]  # a list
    assert rows["server", "metric"]["margin"] == [0.001, 0.009]
    assert rows["server", "size"]["worse"] == 2


def test_a_difference_that_may_be_chance_is_called_so(report: Report) -> None:
    made = compare(report, other(report), {"server": Margin(-0.001, 0.011)})
    assert "which may be chance" in made.tasks[0].verdict


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"metric": "f1"}, "the metrics are accuracy and f1"),
        ({"evaluation": "0" * 64, "labels": "0" * 64}, "the evaluation data differ"),
    ],
)
def test_models_that_were_not_asked_the_same_are_refused(
    report: Report, fields: dict[str, str], said: str
) -> None:
    assert report.reference is not None
    asked = replace(report.reference, **fields)  # type: ignore[arg-type]  # all text
    with pytest.raises(SprueError, match=said):
        compare(report, other(report, reference=asked))


def test_models_without_a_common_target_are_refused(report: Report) -> None:
    server, board = report.targets
    with pytest.raises(SprueError, match="no target in common"):
        compare(replace(report, targets=(server,)), replace(report, targets=(board,)))


def test_inputs_may_be_encoded_otherwise_if_the_labels_are_the_same(report: Report) -> None:
    assert report.reference is not None
    made = compare(report, other(report, reference=replace(report.reference, evaluation="0" * 64)))
    assert not made.same_file
    assert "encoded differently" in Tags(comparison(made)).text


def test_the_page_shows_the_variants_of_both_in_one_plot(report: Report) -> None:
    page = Tags(comparison(compare(report, other(report))))
    assert page.found["figure"] >= 2
    assert page.found["rect"] >= 1
    assert {link for link in page.links if link[:1] == "#" and link[1:] not in page.ids} == set()


def test_two_versions_of_one_model_get_names_that_differ(report: Report) -> None:
    assert compare(report, replace(report, version="2.0.0")).names == ("digits 1.0.0", "digits 2.0.0")
    assert len(set(compare(report, report).names)) == 2


def test_the_margin_is_that_of_paired_answers() -> None:
    """100 samples; the first model is right on 80, the second on 85, and they disagree on 15 of them."""
    labels = np.zeros(100, np.int64)
    one = np.where(np.arange(100) < 80, 1.0, -1.0)
    other_one = np.where((np.arange(100) >= 5) & (np.arange(100) < 90), 1.0, -1.0)
    made = paired(METRICS["accuracy"], np.stack([one, -one], 1), np.stack([other_one, -other_one], 1), labels)
    assert made is not None
    assert made.low < 0.05 < made.high
    assert made.confidence == 0.95
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 100, (20_000, 100))
    drawn = ((other_one > 0)[rows].mean(axis=1) - (one > 0)[rows].mean(axis=1)).astype(np.float64)
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([made.low, made.high], abs=0.015)


def test_the_same_answers_prove_little_when_they_are_few() -> None:
    labels = np.zeros(20, np.int64)
    answers = np.stack([np.ones(20), np.zeros(20)], 1)
    made = paired(METRICS["accuracy"], answers, answers, labels)
    assert made is not None
    assert made.low < -0.05
    assert made.high > 0.05


def test_the_margin_of_an_error_is_above_zero_where_the_second_errs_more() -> None:
    truth = np.arange(40.0).reshape(40, 1)
    made = paired(METRICS["mae"], truth, truth + 0.5, truth)
    assert made is not None
    assert made.low == made.high == pytest.approx(0.5)
    assert made.confidence == 0.9
    assert paired(METRICS["mae"], truth, truth[:3], truth) is None
