"""Many recipes in one build: shared steps once, each recipe's fate its own, a plan before anything runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """Two recipes of one model, and a third that extends what is no recipe by itself."""
    made = shutil.copytree(template, tmp_path / "project")
    recipe = (made / "recipes" / "tiny.toml").read_text()
    (made / "recipes" / "second.toml").write_text(recipe)
    (made / "recipes" / "base.toml").write_text("[accept]\nmax_drop = 0.5\n")
    (made / "recipes" / "third.toml").write_text(f'extends = "base.toml"\n{recipe}')
    return made


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_folder_builds_every_recipe_in_it_and_shared_steps_once(project: Path, sprue: Run) -> None:
    done = sprue(project, "build", "recipes", "--json", SPRUE_CACHE=str(project / "cache"))
    assert done.returncode == 0, done.stderr
    answer = told(done)
    assert [r["recipe"] for r in answer["recipes"]] == ["second", "third", "tiny"]
    events = [json.loads(line) for line in done.stderr.splitlines()]
    ran = [e["action"] for e in events if e["state"] == "started"]
    assert len(ran) == len(set(ran))
    assert ran.count("tiny/source") == 1
    assert len({r["bundle"]["id"] for r in answer["recipes"]}) == 3, "the name is part of the bundle"


def test_a_pattern_and_a_file_named_twice_build_each_recipe_once(project: Path, sprue: Run) -> None:
    done = sprue(project, "build", "recipes/t*.toml", "recipes/tiny.toml", "--json", "--no-freeze")
    assert done.returncode == 0, done.stderr
    assert [r["recipe"] for r in told(done)["recipes"]] == ["third", "tiny"]


def test_a_broken_recipe_does_not_keep_the_others_from_being_built(project: Path, sprue: Run) -> None:
    (project / "recipes" / "second.toml").write_text('model = "tiny"\nversoin = "1.0.0"\n')
    done = sprue(project, "build", "recipes")
    assert done.returncode == 2, "what failed was a wrong question"
    assert "second.toml:2: unknown key 'versoin'" in done.stdout
    assert "2 of 3 recipes hold" in done.stdout
    assert len(list((project / "bundles").glob("*/*-*"))) == 2


def test_fail_fast_starts_nothing_after_the_first_failure(project: Path, sprue: Run) -> None:
    (project / "recipes" / "second.toml").write_text('model = "tiny"\nversoin = "1.0.0"\n')
    done = sprue(project, "build", "recipes", "--fail-fast")
    assert done.returncode == 2
    assert "unknown key 'versoin'" in done.stderr
    assert not (project / "bundles").exists()


def test_a_recipe_without_a_model_that_nobody_extends_is_a_mistake(project: Path, sprue: Run) -> None:
    (project / "recipes" / "third.toml").unlink()
    done = sprue(project, "build", "recipes", "--no-freeze")
    assert done.returncode == 2
    assert "the key 'model' is missing" in done.stdout


def test_an_empty_folder_is_a_mistake(tmp_path: Path, sprue: Run) -> None:
    done = sprue(tmp_path, "build", ".")
    assert done.returncode == 2
    assert "there are no recipes" in done.stderr


def test_a_dry_run_says_what_would_run_and_runs_nothing(project: Path, sprue: Run) -> None:
    own = {"SPRUE_CACHE": str(project / "cache")}
    before = sprue(project, "build", "recipes/tiny.toml", "--dry-run", "--json", **own)
    assert before.returncode == 0, before.stderr
    assert {f["state"] for f in json.loads(before.stdout)} == {"run", "depends"}
    assert not (project / "bundles").exists()
    words = sprue(project, "build", "recipes/tiny.toml", "--dry-run", **own).stdout
    assert "; how long they take is not known yet" in words
    assert sprue(project, "build", "recipes/tiny.toml", **own).returncode == 0
    after = json.loads(sprue(project, "build", "recipes/tiny.toml", "--dry-run", "--json", **own).stdout)
    assert {f["state"] for f in after} == {"cached"}


def test_explain_names_the_part_of_the_key_that_changed(project: Path, sprue: Run) -> None:
    own = {"SPRUE_CACHE": str(project / "cache")}
    assert sprue(project, "build", "recipes/tiny.toml", **own).returncode == 0
    model = project / "models" / "tiny" / "model.toml"
    model.write_text(f'metric = "f1"\n{model.read_text()}')
    forecasts = json.loads(sprue(project, "explain", "recipes/tiny.toml", "--json", **own).stdout)
    changed = {f["action"]: f["reasons"] for f in forecasts if f["state"] == "run"}
    assert changed == {"tiny/reference": ['param:metric: "accuracy" -> "f1"']}
    assert all(f["seconds"] is not None for f in forecasts)
    assert "; at most about" in sprue(project, "explain", "recipes/tiny.toml", **own).stdout


def test_the_trace_is_one_that_perfetto_reads(project: Path, sprue: Run) -> None:
    done = sprue(project, "build", "recipes", "--trace", "build.json", "--no-freeze")
    assert done.returncode == 0, done.stderr
    events = json.loads((project / "build.json").read_text())["traceEvents"]
    lanes: dict[int, float] = {}
    for event in sorted((e for e in events if e["ph"] == "X"), key=lambda e: e["ts"]):
        assert event["dur"] > 0
        assert event["ts"] >= lanes.get(event["tid"], 0.0), "two actions in one lane at one time"
        lanes[event["tid"]] = event["ts"] + event["dur"]
    assert "tiny/source" in {e["name"] for e in events}
