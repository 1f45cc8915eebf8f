"""`sprue debug`, on a backend whose Relu leaks, hides when it is looked at, or crashes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Done = subprocess.CompletedProcess[str]
Sprue = Callable[..., Done]


def debug(sprue: Sprue, project: Path, precision: str, *options: str) -> tuple[int, dict[str, Any]]:
    recipe = f'model = "tiny"\n[target.null]\nbackend = "leaks"\nprecision = "{precision}"\n'
    (project / "recipes" / "tiny.toml").write_text(recipe)
    done = sprue(project, "debug", "recipes/tiny.toml", "-t", "null", "--json", "-j1", *options)
    said: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "method"), [("float32", "exposed"), ("float16", "bisection"), ("int8-static", "bisection")]
)
def test_the_node_at_fault_is_named_and_the_piece_that_is_written_fails_too(
    precision: str, method: str, sprue: Sprue, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "piece"
    code, said = debug(sprue, project, precision, "--out", str(out))
    assert code == 1
    assert (said["tensor"], said["node"], said["method"]) == ("active", "relu (Relu)", method)
    assert said["before"] == ""  # what only a Relu reads is not looked at
    if precision == "int8-static":
        assert "out of registers" in said["failure"]
    else:
        assert said["reference"][0] == 0.0
        assert said["artifact"][0] < 0.0
    assert said["piece"] == ["relu"]
    again = sprue(tmp_path, "build", said["recipe"], "--no-freeze")
    assert again.returncode == 1
    assert ("out of registers" in again.stdout) or ("leaves its tolerance" in again.stdout)


@pytest.mark.slow
def test_an_artifact_that_is_right_is_said_to_be_with_the_tensor_that_is_closest(
    sprue: Sprue, project: Path
) -> None:
    done = sprue(project, "debug", "recipes/tiny.toml", "-t", "null")
    assert done.returncode == 0, done.stderr
    assert "no tensor leaves its tolerance" in done.stdout


def test_a_folder_that_is_not_empty_is_not_written_into(
    sprue_here: Callable[..., Done], project: Path
) -> None:
    done = sprue_here("debug", "recipes/tiny.toml", "-t", "null", "--out", "recipes")
    assert done.returncode == 2
    assert "it is there and not empty" in done.stderr
    assert [p.name for p in (project / "recipes").iterdir()] == ["tiny.toml"]


def test_an_unknown_target_is_refused_with_the_nearest(
    sprue_here: Callable[..., Done], project: Path
) -> None:
    done = sprue_here("debug", "recipes/tiny.toml", "-t", "nul")
    assert done.returncode == 2
