"""What is kept of the last build of a recipe, in whatever way it ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from sprue.engine.cache import Cache
from sprue.errors import SprueError
from sprue.history.last_build import is_kept, keep, last_build

Run = Callable[..., CompletedProcess[str]]
WHOLE = ((), ())


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text("model = 'x'\n")
    return path


def test_what_was_kept_comes_back(tmp_path: Path, recipe: Path) -> None:
    keep(tmp_path, recipe, WHOLE, {"inputs": {}, "name": "x"})
    assert last_build(tmp_path, recipe)["name"] == "x"


def test_the_last_one_counts_also_when_it_was_a_part(tmp_path: Path, recipe: Path) -> None:
    part = (("mobile",), ())
    keep(tmp_path, recipe, WHOLE, {"inputs": {}, "name": "whole"})
    os.utime(next((tmp_path / "reports").glob("*/*.json")), (1, 1))
    keep(tmp_path, recipe, part, {"inputs": {}, "name": "part"})
    assert last_build(tmp_path, recipe)["name"] == "part"
    for file in (tmp_path / "reports").glob("*/*.json"):
        os.utime(file, (1, 1))
    assert is_kept(tmp_path, recipe, WHOLE)
    assert last_build(tmp_path, recipe)["name"] == "whole"


def test_nothing_kept_says_to_build(tmp_path: Path, recipe: Path) -> None:
    assert not is_kept(tmp_path, recipe, WHOLE)
    with pytest.raises(SprueError, match="has not been built here") as error:
        last_build(tmp_path, recipe)
    assert error.value.remedy == f"sprue build {recipe}"


def test_a_recipe_that_is_not_there_gets_the_nearest_name(tmp_path: Path, recipe: Path) -> None:
    with pytest.raises(SprueError, match="no such file") as error:
        last_build(tmp_path, recipe.with_name("y.toml"))
    assert "x.toml" in error.value.remedy


@pytest.mark.parametrize("change", [lambda data: data[:-3], lambda data: data.replace(b'"x"', b'"y"')])
def test_what_is_damaged_is_not_used_and_made_again(
    tmp_path: Path, recipe: Path, change: Callable[[bytes], bytes]
) -> None:
    keep(tmp_path, recipe, WHOLE, {"inputs": {}, "name": "x"})
    (path,) = (tmp_path / "reports").glob("*/*.json")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(SprueError, match="is damaged"):
        last_build(tmp_path, recipe)
    assert not is_kept(tmp_path, recipe, WHOLE)


def test_what_changed_since_is_named(tmp_path: Path, recipe: Path) -> None:
    keep(tmp_path, recipe, WHOLE, {"inputs": {str(recipe): "0" * 64}})
    with pytest.raises(SprueError, match=r"changed since it was built: x\.toml"):
        last_build(tmp_path, recipe)


@pytest.mark.slow
def test_a_build_that_holds_and_one_that_fails_are_both_kept(project: Path, sprue: Run) -> None:
    cache = project / "cache"
    path = project / "recipes" / "tiny.toml"
    assert sprue(project, "build", path, SPRUE_CACHE=str(cache)).returncode == 0
    found = last_build(Cache(cache).folder, path)
    assert [(v["variant"], v["selected"]) for v in found["evidence"]["variants.json"]] == [
        ("null-float32", True)
    ]
    assert found["evidence"]["variants.json"][0]["how"]["backend"] == "null"
    path.write_text('model = "tiny"\n[target.null]\nbackend = "drifts"\n')
    assert sprue(project, "build", path, SPRUE_CACHE=str(cache)).returncode == 1
    (variant,) = last_build(Cache(cache).folder, path)["evidence"]["variants.json"]
    assert variant["state"] == "failed"
    assert "leaves its tolerance" in variant["why"]


@pytest.mark.slow
def test_an_answer_that_still_holds_is_not_given_when_there_is_nothing_to_report(
    project: Path, sprue: Run
) -> None:
    cache = project / "cache"
    path = project / "recipes" / "tiny.toml"
    assert sprue(project, "build", path, SPRUE_CACHE=str(cache)).returncode == 0
    for file in (Cache(cache).folder / "reports").glob("*/*.json"):
        file.unlink()
    assert sprue(project, "build", path, SPRUE_CACHE=str(cache)).returncode == 0
    assert last_build(Cache(cache).folder, path)["ok"]
