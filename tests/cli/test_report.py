"""`sprue report` as people and jobs call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def built(project: Path, sprue: Run) -> Path:
    """Versions 1.2.3 and 1.3.0 of `tiny` are in the store."""
    recipe = project / "recipes" / "tiny.toml"
    assert sprue(project, "build", "recipes/tiny.toml").returncode == 0
    recipe.write_text(recipe.read_text().replace("1.2.3", "1.3.0"))
    assert sprue(project, "build", "recipes/tiny.toml").returncode == 0
    return project


@pytest.mark.slow
def test_a_recipe_and_its_bundle_are_reported_in_every_form(built: Path, sprue: Run) -> None:
    done = sprue(built, "report", "recipes/tiny.toml")
    assert (done.returncode, done.stdout) == (0, "tiny-report.html\n"), done.stderr
    page = built / "tiny-report.html"
    assert page.read_text().startswith("<!doctype html>")
    assert page.stat().st_mode & 0o777 == 0o644
    assert 'id="previous"' in page.read_text()

    said = sprue(built, "report", "tiny@1.3.0", "--format", "markdown", "-o", "-")
    assert said.stdout.startswith("## tiny 1.3.0\n")
    assert "### Since 1.2.3" in said.stdout

    summary = built / "summary.md"
    summary.write_text("before\n")
    done = sprue(built, "report", "tiny@1.2.3", "--summary", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0
    assert summary.read_text().startswith("before\n## tiny 1.2.3\n")
    assert "Since" not in summary.read_text()

    found = json.loads(sprue(built, "report", "tiny", "--against", "tiny@1.2.3", "--json").stdout)
    assert found["report"]["version"] == "1.3.0"
    assert found["previous"]["before"]["version"] == "1.2.3"
    assert {r["figure"] for r in found["previous"]["rows"]} >= {"metric", "size", "latency"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["recipes/tiny.toml"], 2, "it has not been built here\n  sprue build recipes/tiny.toml"),
        (["recipes/tyni.toml"], 2, "did you mean 'tiny.toml'?"),
        (["tiny@9.9.9"], 2, "there is no bundle 'tiny@9.9.9'"),
        (["recipes/tiny.toml", "--format", "pdf"], 2, "'pdf' is not one of"),
    ],
)
def test_a_wrong_question_gets_a_remedy_and_writes_nothing(
    project: Path,
    sprue_here: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("SPRUE_CACHE", str(project / "cache"))
    done = sprue_here("report", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert not list(project.glob("*.html"))


@pytest.mark.slow
def test_a_build_that_failed_is_reported_with_its_reasons(project: Path, sprue: Run) -> None:
    (project / "recipes" / "tiny.toml").write_text('model = "tiny"\n[target.null]\nbackend = "drifts"\n')
    assert sprue(project, "build", "recipes/tiny.toml").returncode == 1
    done = sprue(project, "report", "recipes/tiny.toml", "--format", "markdown", "-o", "-")
    assert done.returncode == 0
    assert "No variant passed for null." in done.stdout
    assert "leaves its tolerance" in done.stdout


@pytest.mark.slow
def test_a_summary_outside_of_github_says_what_to_do(built: Path, sprue: Run) -> None:
    done = sprue(built, "report", "tiny", "--summary", GITHUB_STEP_SUMMARY="")
    assert done.returncode == 2
    assert "GITHUB_STEP_SUMMARY is not set" in done.stderr
