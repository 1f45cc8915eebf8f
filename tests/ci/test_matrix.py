"""The matrix as a whole: a pure function, and its JSON, which others read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sprue.ci.changes import Changes
from sprue.ci.durations import remembered
from sprue.ci.matrix import matrix
from sprue.ci.matrix_file import MatrixFile, read_matrix, write_matrix
from sprue.engine.cache import Cache
from sprue.errors import SprueError
from sprue.history import last_build
from sprue.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
ALL = [ROOT / "recipes" / "digits.toml", ROOT / "recipes" / "intent.toml"]


@pytest.fixture(scope="module")
def recipes() -> list[Recipe]:
    return [load_recipe(path) for path in ALL]


def test_an_affected_recipe_is_built_for_all_of_its_targets(recipes: list[Recipe]) -> None:
    made = matrix(recipes, Changes(ROOT, frozenset({"models/digits/digits.onnx"})), {})
    assert [j.name for j in made.jobs] == ["cortex-m4 1/1", "gpu 1/1", "mobile 1/1", "server-cpu 1/1"]
    assert {tuple(j.reasons) for j in made.jobs} == {
        ("models/digits/digits.onnx changed: the model 'digits'",)
    }
    assert [r.name for r in made.recipes] == ["digits"]
    assert made.recipes[0].targets == ["server-cpu", "gpu", "mobile", "cortex-m4"]
    assert made.unaffected == [ALL[1].as_posix()]


def test_what_affects_nothing_needs_no_job(recipes: list[Recipe]) -> None:
    made = matrix(recipes, Changes(ROOT, frozenset({"README.md"})), {})
    assert made.jobs == []
    assert made.unaffected == [p.as_posix() for p in ALL]


def test_runner_labels_come_from_the_target_s_file_and_may_be_mapped(recipes: list[Recipe]) -> None:
    made = {j.target: j.runner for j in matrix(recipes, None, {}, most=4).jobs}
    assert made["gpu"] == ["linux", "x64", "gpu"]
    mapped = matrix(recipes, None, {}, most=4, runners={frozenset({"x64", "linux"}): ("ubuntu-24.04",)})
    assert {j.target: j.runner for j in mapped.jobs} == {
        "cortex-m4": ["ubuntu-24.04"],
        "gpu": ["linux", "x64", "gpu"],
        "mobile": ["ubuntu-24.04"],
        "server-cpu": ["ubuntu-24.04"],
    }


def test_the_file_reads_back_and_keeps_to_its_schema(recipes: list[Recipe], tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema (the extra `dev`)")
    made = matrix(recipes, None, {("digits", "gpu"): 2.5}, revision="abc", since="main")
    path = tmp_path / "matrix.json"
    write_matrix(path, made)
    assert read_matrix(path) == made
    jsonschema.validate(json.loads(path.read_bytes()), MatrixFile.model_json_schema(by_alias=True))
    write_matrix(
        tmp_path / "again.json", matrix(recipes, None, {("digits", "gpu"): 2.5}, revision="abc", since="main")
    )
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"schema":"sprue-matrix/2"}', "[" * 100_000, '{"schema":1,"schema":1}']
)
def test_what_is_no_matrix_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "matrix.json").write_text(text)
    with pytest.raises(SprueError, match="no matrix"):
        read_matrix(tmp_path / "matrix.json")


def test_a_job_that_the_matrix_does_not_have_is_refused_with_the_nearest(recipes: list[Recipe]) -> None:
    made = matrix(recipes, None, {}, most=4)
    assert made.job("mobile", 1, 1).recipes == [p.as_posix() for p in ALL]
    with pytest.raises(SprueError, match="no job 'mobil 1/1'") as raised:
        made.job("mobil", 1, 1)
    assert "did you mean 'mobile 1/1'" in raised.value.remedy


def test_durations_are_those_of_the_last_builds_that_the_cache_kept(
    recipes: list[Recipe], tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache")
    whole = {
        "digits/source": 1.0,
        "digits/pass/Simplify-1": 0.5,
        "digits/mobile/tflite-float16/compile": 2.0,
        "digits/mobile/measure": 8.0,
        "digits/gpu/tensorrt-float16/compile": 16.0,
    }
    part = {"digits/source": 1.0, "digits/mobile/tflite-float16/compile": 4.0}
    last_build.keep(cache.folder, ALL[0], [[], []], {"measurements": {"actions": whole}})
    last_build.keep(cache.folder, ALL[0], [["mobile"], []], {"measurements": {"actions": part}})
    assert remembered(recipes, cache) == {("digits", "mobile"): 13.5, ("digits", "gpu"): 17.5}
