"""`sprue matrix` as a person or a CI job types it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def two_recipes(project: Path, git: Callable[..., str]) -> Path:
    """`tiny` for two targets and `other` for one; only `other` has changed since HEAD."""
    (project / "recipes" / "tiny.toml").write_text('model = "tiny"\n[target.mobile]\n[target.cortex-m4]\n')
    (project / "recipes" / "other.toml").write_text('model = "tiny"\n[target.mobile]\n')
    git("add", "--all")
    git("commit", "-q", "-m", "two recipes")
    with (project / "recipes" / "other.toml").open("a") as stream:
        stream.write("# changed\n")
    return project


def test_people_get_a_table_with_reasons(two_recipes: Path, sprue_here: Run) -> None:
    done = sprue_here("matrix", "recipes", "--since", "HEAD")
    assert done.returncode == 0, done.stderr
    assert "recipes/other.toml changed: the recipe" in done.stdout
    assert "cortex-m4" not in done.stdout
    assert "1 job for 1 of 2 recipes, since HEAD" in done.stdout


def test_ci_gets_its_lines_the_file_and_the_summary_of_one_matrix(
    two_recipes: Path, sprue_here: Run, git: Callable[..., str]
) -> None:
    options = ("--out", "matrix.json", "--summary", "summary.md", "--runner", "linux,x64=small")
    done = sprue_here("matrix", "recipes", "--format", "github", *options)
    assert done.returncode == 0, done.stderr
    include = json.loads(done.stdout.splitlines()[0].removeprefix("matrix="))["include"]
    written = json.loads((two_recipes / "matrix.json").read_bytes())
    assert written["revision"] == git("rev-parse", "HEAD")
    assert [j["name"] for j in include] == [j["name"] for j in written["jobs"]]
    assert {tuple(j["runner"]) for j in include} == {("small",)}
    assert (two_recipes / "summary.md").read_text().count("every recipe is built") == len(include) == 3


def test_json_is_the_file(two_recipes: Path, sprue_here: Run) -> None:
    done = sprue_here("matrix", "recipes", "--json", "--out", "matrix.json", "--max-jobs", "2")
    assert json.loads(done.stdout) == json.loads((two_recipes / "matrix.json").read_bytes())
    assert [j["recipes"] for j in json.loads(done.stdout)["jobs"]] == [
        ["recipes/tiny.toml"],
        ["recipes/other.toml", "recipes/tiny.toml"],
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("recipes", "--since", "nowhere"), "git knows no revision 'nowhere'"),
        (("recipes", "--runner", "linux"), "there is no '='"),
        (("recipes", "--max-jobs", "1"), "2 targets need as many jobs"),
        ((), "Missing argument 'RECIPES...'"),
        (("nothing/*.toml",), "there are no recipes"),
        (("recipes", "--past", "nowhere"), "there is no such folder"),
    ],
)
def test_a_wrong_question_is_answered_with_what_is_wrong(
    two_recipes: Path, sprue_here: Run, arguments: tuple[str, ...], said: str
) -> None:
    done = sprue_here("matrix", *arguments, "--out", "matrix.json")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (two_recipes / "matrix.json").exists()


def test_since_needs_a_checkout(project: Path, sprue_here: Run) -> None:
    (project / "recipes" / "tiny.toml").write_text('model = "tiny"\n[target.mobile]\n')
    done = sprue_here("matrix", "recipes", "--since", "HEAD")
    assert done.returncode == 2
    assert "not in a git checkout" in done.stderr
    assert sprue_here("matrix", "recipes").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--matrix", "m.json"), "the job is named by one --target and --only-shard"),
        (("--only-shard", "3/2", "recipes"), "--only-shard 3/2: no part of a whole"),
        (("--only-shard", "one", "recipes"), "--only-shard one: no part of a whole"),
        (("--push", "there", "--no-freeze", "recipes"), "--no-freeze makes none"),
        ((), "Missing argument 'RECIPES...'"),
    ],
)
def test_a_shard_that_cannot_be_is_refused(
    project: Path, sprue_here: Run, arguments: tuple[str, ...], said: str
) -> None:
    done = sprue_here("build", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_folder_to_push_to_that_is_not_there_is_said_before_anything_is_built(
    project: Path, sprue_here: Run, tmp_path: Path
) -> None:
    done = sprue_here("build", "recipes", "--push", str(tmp_path / "absent"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'absent'}: there is no such folder")
