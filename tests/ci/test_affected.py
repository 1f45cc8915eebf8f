"""Which changes affect which recipe, and the reason that is given: on the sample recipes of this checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sprue.ci.affected import reasons
from sprue.ci.changes import Changes
from sprue.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def digits() -> Recipe:
    return load_recipe(ROOT / "recipes" / "digits.toml")


def changed(*paths: str) -> Changes:
    return Changes(ROOT, frozenset(paths))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("recipes/digits.toml", "the recipe"),
        ("models/digits/model.toml", "the model 'digits'"),
        ("models/digits/digits.onnx", "the model 'digits'"),
        ("models/digits/evaluation.npz", "the model 'digits'"),
        ("models/digits/calibration.npz", "the model 'digits'"),
        ("targets/mobile.toml", "the target 'mobile'"),
        ("targets/openvino.py", "the backend 'openvino'"),
        ("targets/tflite/lower.py", "the backend 'tflite'"),
        ("targets/_findings.py", "backends share it"),
        ("src/sprue/plan.py", "sprue itself"),
        ("pyproject.toml", "it may bring other packages"),
        ("requirements-gpu.txt", "it may bring other packages"),
        ("uv.lock", "it may bring other packages"),
    ],
)
def test_what_a_recipe_is_built_from_affects_it(digits: Recipe, path: str, reason: str) -> None:
    assert reasons(digits, changed(path)) == (f"{path} changed: {reason}",)


@pytest.mark.parametrize(
    "path",
    ["README.md", "recipes/intent.toml", "models/intent/model.toml", "models/digits/README.md", "tests/x.py"],
)
def test_nothing_else_affects_it(digits: Recipe, path: str) -> None:
    assert reasons(digits, changed(path)) == ()


def test_a_base_affects_what_extends_it(project: Path) -> None:
    (project / "recipes" / "base.toml").write_text("[accept]\nmax_drop = 0.5\n")
    path = project / "recipes" / "tiny.toml"
    path.write_text('extends = "base.toml"\nmodel = "tiny"\n[target.mobile]\n')
    changes = Changes(project.resolve(), frozenset({"recipes/base.toml"}))
    assert reasons(load_recipe(path), changes) == ("recipes/base.toml changed: the recipe that it extends",)


def test_all_of_the_folder_counts_where_the_source_is_python(project: Path) -> None:
    path = project / "recipes" / "tiny.toml"
    path.write_text('model = "tiny"\n[target.mobile]\n')
    changes = Changes(project.resolve(), frozenset({"models/tiny/words.txt", "models/tiny/layers/a.py"}))
    assert reasons(load_recipe(path), changes) == ()
    toml = project / "models" / "tiny" / "model.toml"
    toml.write_text(toml.read_text().replace("tiny.onnx", "train.py:export"))
    (project / "models" / "tiny" / "train.py").write_text("def export(): ...\n")
    assert reasons(load_recipe(path), changes) == (
        "models/tiny/layers/a.py and 1 more changed: the model 'tiny', part of which is Python",
    )


def test_a_project_s_own_target_affects_the_recipes_that_use_it(project: Path) -> None:
    (project / "targets").mkdir()
    shutil.copy(ROOT / "targets" / "mobile.toml", project / "targets" / "phone.toml")
    path = project / "recipes" / "tiny.toml"
    changes = Changes(project.resolve(), frozenset({"targets/phone.toml"}))
    path.write_text('model = "tiny"\n[target.phone]\n')
    assert reasons(load_recipe(path), changes) == ("targets/phone.toml changed: the target 'phone'",)
    path.write_text('model = "tiny"\n[target.mobile]\n')
    assert reasons(load_recipe(path), changes) == ()


def test_a_removed_lock_file_affects_everything(project: Path) -> None:
    path = project / "recipes" / "tiny.toml"
    path.write_text('model = "tiny"\n[target.mobile]\n')
    changes = Changes(project.resolve(), frozenset({"requirements.txt"}))
    assert not (project / "requirements.txt").exists()
    assert reasons(load_recipe(path), changes) == ("requirements.txt changed: it may bring other packages",)
