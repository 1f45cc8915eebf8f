"""Committed figures: flagged when they change in either direction, written with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from sprue.errors import CheckError, SprueError
from sprue.history.ratchet import (
    Figures,
    RatchetFile,
    changes,
    empty,
    figures,
    read_ratchet,
    updated,
    write_ratchet,
)
from sprue.report.data import How, Reference, Report, TargetReport, Timing, Tried

Run = Callable[..., CompletedProcess[str]]


def tried(variant: str, seconds: float, **values: Any) -> Tried:
    timing = Timing(1e-3, seconds, seconds, seconds, seconds, (seconds,) * 30)
    fixed: dict[str, Any] = {
        "metric": 0.98,
        "size": 1000,
        "how": How(*variant.partition("-")[::2]),
        "timing": timing,
    }
    return Tried("server", variant, "verified", values.pop("selected", False), **(fixed | values))


def report(better: bool = True, partial: bool = False, **values: Any) -> Report:
    variants = (tried("ort-float32", 20e-6), tried("ort-int8", 10e-6, selected=True, **values))
    reference = Reference("accuracy", 0.98, 100, higher_is_better=better)
    target = TargetReport("server", "linux", "x86_64", variants)
    return Report("digits", "1.0.0", "", reference, (target,), partial=partial)


@pytest.fixture
def committed() -> RatchetFile:
    first = report()
    return updated(empty(), first, figures(first), changes(empty(), first, figures(first)), "first")


def found(committed: RatchetFile, now: Report) -> list[tuple[str, str]]:
    return [(c.figure, c.kind) for c in changes(committed, now, figures(now))]


def test_latency_is_kept_as_a_ratio_to_float() -> None:
    assert figures(report()) == {
        "server": Figures(
            baseline="ort-float32", latency_ratio=0.5, metric=0.98, size=1000, variant="ort-int8"
        )
    }


@pytest.mark.parametrize(
    ("now", "flagged"),
    [
        (report(), []),
        (report(size=1009, metric=0.9815), []),
        (report(size=1011), [("size", "worse")]),
        (report(size=900), [("size", "better")]),
        (report(metric=0.97), [("metric", "worse")]),
        (report(metric=0.99), [("metric", "better")]),
        (report(better=False, metric=0.99), [("metric", "worse")]),
        (report(instructions=7), [("instructions", "new")]),
        (report(metric=None), [("metric", "gone")]),
        (report(timing=tried("x-y", 5e-6).timing), [("latency_ratio", "better")]),
        (report(timing=tried("x-y", 12e-6).timing), [("latency_ratio", "worse")]),
    ],
)
def test_changes_beyond_tolerance_are_flagged_in_both_directions(
    committed: RatchetFile, now: Report, flagged: list[tuple[str, str]]
) -> None:
    assert found(committed, now) == flagged


def test_targets_that_come_and_go_are_flagged_unless_only_a_part_was_built(committed: RatchetFile) -> None:
    (target,) = report().targets
    other = replace(report(), targets=(replace(target, id="board"),))
    assert [(c.target, c.kind) for c in changes(committed, other, figures(other))] == [
        ("board", "new"),
        ("server", "gone"),
    ]
    assert found(committed, replace(other, partial=True)) == [("variant", "new")]


def test_another_variant_is_flagged(committed: RatchetFile) -> None:
    (target,) = report().targets
    kept = tuple(replace(t, selected=not t.selected) for t in target.tried)
    now = replace(report(), targets=(replace(target, tried=kept),))
    assert found(committed, now) == [("variant", "other"), ("latency_ratio", "worse")]


def test_a_build_that_failed_has_no_figures() -> None:
    with pytest.raises(CheckError, match="its last build failed"):
        figures(replace(report(), error="the model is damaged"))


def test_the_file_is_the_same_for_the_same_figures_and_reads_back(
    committed: RatchetFile, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    write_ratchet(one, committed)
    read = read_ratchet(one)
    assert read == committed
    write_ratchet(two, read)
    assert one.read_bytes() == two.read_bytes()
    assert '        "size": 1000,\n' in one.read_text().replace("          ", "        ")


def test_an_update_leaves_alone_what_did_not_change(committed: RatchetFile) -> None:
    (target,) = report().targets
    now = replace(report(size=1005), targets=(*report(size=1005).targets, replace(target, id="new")))
    made = updated(committed, now, figures(now), changes(committed, now, figures(now)), "a new target")
    assert made.recipes["digits"].targets["server"].size == 1000
    assert made.recipes["digits"].targets["new"].size == 1000
    assert made.recipes["digits"].reason == "a new target"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a valid ratchet"),
        ('{"schema":"sprue-ratchet/2"}', "schema"),
        ('{"schema":"sprue-ratchet/1","recipe":{}}', "recipe: Extra inputs"),
        ('{"schema":"sprue-ratchet/1","tolerance":{"size":-1}}', r"tolerance\.size"),
        ('{"schema":"sprue-ratchet/1","recipes":{"a":{"reason":"","targets":{"t":{"size":1}}}}}', "variant"),
        ('{"schema":"sprue-ratchet/1","recipes":{},"recipes":{}}', "stands twice"),
    ],
)
def test_a_file_that_is_not_valid_is_refused_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "ratchet.json"
    path.write_text(text)
    with pytest.raises(SprueError, match=said):
        read_ratchet(path)


@pytest.mark.slow
def test_the_command_flags_and_updates(project: Path, sprue: Run) -> None:
    recipe = project / "recipes" / "tiny.toml"
    file = project / "recipes" / "ratchet.json"
    assert sprue(project, "build", recipe).returncode == 0
    first = sprue(project, "ratchet", "recipes")
    assert first.returncode == 2
    assert "there is no such file yet" in first.stderr
    assert sprue(project, "ratchet", "recipes", "--update").returncode == 2
    assert sprue(project, "ratchet", "recipes", "--update", "--reason", "first figures").returncode == 0
    assert sprue(project, "ratchet", "recipes").stdout.endswith("all figures are as committed\n")
    before = file.read_bytes()

    recipe.write_text(
        'model = "tiny"\n[accept]\nmax_drop = 1\natol = 1000\n[target.null]\nbackend = "worse"\n'
    )
    stale = sprue(project, "ratchet", "recipes")
    assert stale.returncode == 2
    assert "changed since it was built: tiny.toml" in stale.stderr
    assert sprue(project, "build", recipe).returncode == 0
    done = sprue(project, "ratchet", "recipes", "--json")
    assert done.returncode == 1
    kinds = {c["figure"]: c["kind"] for c in json.loads(done.stdout)["changes"]}
    assert (kinds["metric"], kinds["size"], kinds["variant"]) == ("worse", "worse", "other")
    assert file.read_bytes() == before
    assert sprue(project, "ratchet", "recipes", "--update", "--reason", "a trade").returncode == 0
    assert json.loads(file.read_text())["recipes"]["tiny"]["reason"] == "a trade"
