"""What people get wrong in recipes and model files, through the command line: file, line, key and remedy."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

TOML = "models/tiny/model.toml"
RECIPE = "recipes/tiny.toml"

CASES: dict[str, tuple[str, str, str, str, str, str]] = {
    # name: (file, what stands in it, what is written instead, where, what, remedy)
    "a misspelt ONNX file": (
        TOML,
        "tiny.onnx",
        "tinny.onnx",
        f"{TOML}:1",
        "'tinny.onnx' does not exist",
        "did you mean 'tiny.onnx'?",
    ),
    "an unknown metric": (
        TOML,
        "\n[data]",
        'metric = "acuracy"\n[data]',
        f"{TOML}:2",
        "there is no metric 'acuracy'",
        "did you mean 'accuracy'? allowed: accuracy, auc, cosine, f1, mae, top5",
    ),
    "a source outside of the model's folder": (
        TOML,
        "tiny.onnx",
        "../tiny.onnx",
        f"{TOML}:1",
        "'source' is '../tiny.onnx'",
        "inside the model's own folder",
    ),
    "a source of another kind": (
        TOML,
        "tiny.onnx",
        "tiny.onnx:export",
        f"{TOML}:1",
        "neither an ONNX file nor file.py:callable",
        '"train.py:export"',
    ),
    "an unknown key of a model": (
        TOML,
        "calibration",
        "calibraton",
        f"{TOML}:5",
        "unknown key 'data.calibraton'",
        "did you mean 'calibration'?",
    ),
    "an unknown model": (
        RECIPE,
        '"tiny"',
        '"tinny"',
        f"{RECIPE}:1",
        "there is no model 'tinny'",
        "did you mean 'tiny'?",
    ),
    "an unknown target": (
        RECIPE,
        "target.server-cpu",
        "target.server-cp",
        f"{RECIPE}:4",
        "there is no target 'server-cp'",
        "did you mean 'server-cpu'?",
    ),
    "an unknown backend": (
        RECIPE,
        "server-cpu]",
        'server-cpu]\nbackend = "onnxruntme"',
        f"{RECIPE}:5",
        "not served by a backend 'onnxruntme'",
        "did you mean 'onnxruntime'?",
    ),
    "a precision that is not offered": (
        RECIPE,
        "server-cpu]",
        'server-cpu]\nprecision = "float16"',
        f"{RECIPE}:5",
        "onnxruntime does not offer precision 'float16'",
        "did you mean 'float32'?",
    ),
    "an alternative named twice": (
        RECIPE,
        "server-cpu]",
        'server-cpu]\nprecision = ["int8", "int8-static"]',
        f"{RECIPE}:5",
        "names an alternative twice",
        "",
    ),
    "no target at all": (
        RECIPE,
        "[target.server-cpu]",
        "",
        RECIPE,
        "the recipe names no target",
        "[target.server-cpu]",
    ),
    "a limit above the target's": (
        RECIPE,
        "server-cpu]",
        'cortex-m4]\nlimit.ram = "1 MiB"',
        f"{RECIPE}:5",
        "limit.ram is 1048576 bytes, but target 'cortex-m4' has only 262144",
        "not raise it",
    ),
    "an extends that is not there": (
        RECIPE,
        "model =",
        'extends = "bse.toml"\nmodel =',
        f"{RECIPE}:1",
        "there is no recipe 'bse.toml'",
        "allowed: ",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_check_names_file_line_key_and_remedy(case: str, project: Path, sprue_here: Run) -> None:
    (project / RECIPE).write_text('model = "tiny"\nversion = "1.2.3"\n\n[target.server-cpu]\n')
    file, old, new, where, what, remedy = CASES[case]
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    done = sprue_here("check", RECIPE)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith((f"error: {where}: ", f"error: {project}/{where}: ")), done.stderr
    assert what in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_build_and_show_refuse_as_check_does(project: Path, sprue: Run) -> None:
    (project / RECIPE).write_text('model = "tiny"\n[target.null]\nprefr = "size"\n')
    answers = [sprue(project, *command, RECIPE) for command in (["check"], ["build"], ["show", "--resolved"])]
    assert {a.returncode for a in answers} == {2}
    assert {a.stderr for a in answers} == {answers[0].stderr}
    assert (
        "recipes/tiny.toml:3: unknown key 'target.null.prefr'\n  did you mean 'prefer'?" in answers[0].stderr
    )
    assert not (project / "bundles").exists()


def test_a_recipe_that_no_bundle_can_be_called_after_is_refused(project: Path, sprue: Run) -> None:
    (project / RECIPE).rename(project / "recipes" / "my recipe.toml")
    done = sprue(project, "check", "recipes/my recipe.toml")
    assert done.returncode == 2
    assert "recipes/my recipe.toml: 'my recipe' cannot be the name of a recipe" in done.stderr
