"""The renderings: held against the published schemas of both CI systems, and run by a shell's own eyes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sprue.ci.formats import Setting, github, gitlab, summary, workflow
from sprue.ci.matrix_file import JobEntry, MatrixFile

SETTING = Setting(("recipes/",), "oci://ghcr.io/acme/models", ("linux,x64=ubuntu-24.04",))

Check = Callable[..., subprocess.CompletedProcess[str]]


def job(name: str = "mobile", **others: Any) -> JobEntry:
    known: dict[str, Any] = {
        "name": f"{name} 1/2",
        "target": name,
        "shard": 1,
        "of": 2,
        "runner": ["linux", "x64"],
        "recipes": ["recipes/a.toml"],
        "reasons": ["recipes/a.toml changed: the recipe"],
        "seconds": 2.0,
    }
    return JobEntry(**known | others)


def matrix(*jobs: JobEntry) -> MatrixFile:
    return MatrixFile(
        schema="sprue-matrix/1",
        revision=None,
        since=None,
        jobs=list(jobs),
        recipes=[],
        unaffected=["recipes/b.toml"],
    )


def loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """`check(schema, *texts)`: check-jsonschema with the schema that it ships; nothing is fetched."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")

    def run(schema: str, *texts: str) -> subprocess.CompletedProcess[str]:
        files = [tmp_path / f"{number}.yml" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        command = [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            f"vendor.{schema}",
            *map(str, files),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_the_github_workflow_keeps_to_the_published_schema(check: Check) -> None:
    text = workflow("github", SETTING)
    assert check("github-workflows", text).returncode == 0
    broken = check("github-workflows", text.replace("runs-on:", "runs_on:"))
    assert broken.returncode == 1
    assert "runs_on" in broken.stdout


@pytest.mark.slow
def test_the_gitlab_pipelines_keep_to_the_published_schema(check: Check) -> None:
    texts = [workflow("gitlab", SETTING), gitlab(matrix(job(), job("gpu", runner=[]))), gitlab(matrix())]
    done = check("gitlab-ci", *texts)
    assert done.returncode == 0, done.stdout
    assert check("gitlab-ci", texts[1].replace("script:", "scrpt:")).returncode == 1


def scripts(value: Any) -> list[str]:
    """Every shell script in a workflow or a pipeline."""
    found: list[str] = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if key in ("run", "script", "before_script"):
            found += [inner] if isinstance(inner, str) else inner
        elif isinstance(inner, dict | list):
            found += scripts(inner)
    return found


def test_every_script_is_one_that_bash_can_read() -> None:
    texts = workflow("github", SETTING), workflow("gitlab", SETTING), gitlab(matrix(job()))
    found = [script for text in texts for script in scripts(loaded(text))]
    assert len(found) > 10
    for script in found:
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}\n{done.stderr}"


def test_no_script_of_the_workflow_is_put_together_from_names_that_others_choose() -> None:
    """`${{ }}` in a script is text that the shell reads: names must come in as variables."""
    assert [s for s in scripts(loaded(workflow("github", SETTING))) if "${{" in s] == []


def test_github_gets_two_lines_for_its_output_file() -> None:
    lines = github(matrix(job(), job("gpu", runner=[]))).splitlines()
    name, _, value = lines[0].partition("=")
    assert (name, lines[1:]) == ("matrix", ["jobs=2"])
    assert json.loads(value)["include"] == [
        {
            "name": "mobile 1/2",
            "target": "mobile",
            "shard": "1/2",
            "file": "mobile-1-of-2",
            "runner": ["linux", "x64"],
        },
        {
            "name": "gpu 1/2",
            "target": "gpu",
            "shard": "1/2",
            "file": "gpu-1-of-2",
            "runner": ["ubuntu-latest"],
        },
    ]
    assert github(matrix()).splitlines() == ['matrix={"include":[]}', "jobs=0"]


def test_gitlab_gets_a_job_for_each_shard_with_the_runner_s_labels_as_tags() -> None:
    made = loaded(gitlab(matrix(job(), job("gpu", runner=[]))))
    assert made["mobile 1/2"]["tags"] == ["linux", "x64"]
    assert made["mobile 1/2"]["variables"] == {"SPRUE_TARGET": "mobile", "SPRUE_SHARD": "1/2"}
    assert "tags" not in made["gpu 1/2"]
    assert list(loaded(gitlab(matrix()))) == ["stages", "default", "matrix"], "no empty pipeline"


@pytest.mark.parametrize("label", ["a: b", "- x", "'", '"', "#", "\n", "${{ secrets.X }}", "[% x %]", "ü"])
def test_whatever_a_label_holds_it_stays_one_value(label: str) -> None:
    assert loaded(gitlab(matrix(job(runner=[label]))))["mobile 1/2"]["tags"] == [label]
    value = github(matrix(job(runner=[label]))).splitlines()[0].partition("=")[2]
    assert json.loads(value)["include"][0]["runner"] == [label]


def test_the_workflow_holds_what_it_was_filled_in_with() -> None:
    made = loaded(workflow("github", Setting(("a b/",), "oci://host:5000/team", ("gpu=self-hosted,gpu",))))
    assert made["env"]["SPRUE_PUSH"] == "oci://host:5000/team"
    logins = [s for s in made["jobs"]["seal"]["steps"] if "login" in s.get("uses", "")]
    assert [s["with"]["registry"] for s in logins] == ["host:5000"]
    elsewhere = loaded(workflow("github", Setting(("recipes",), "s3://bucket/models")))
    assert [s for s in elsewhere["jobs"]["seal"]["steps"] if "login" in s.get("uses", "")] == []
    plan = next(s for s in made["jobs"]["matrix"]["steps"] if s.get("id") == "matrix")
    assert '"a b/"' in plan["run"]
    assert '--runner "gpu=self-hosted,gpu"' in plan["run"]


def test_the_summary_says_why_each_job_runs() -> None:
    said = summary(matrix(job(reasons=["a|b changed: the recipe", "more"])))
    assert "| mobile 1/2 | linux, x64 | 1 | 2 s | a&#124;b changed: the recipe; more |" in said
    assert summary(matrix()) == "Nothing to build: 1 recipes are not affected.\n"
