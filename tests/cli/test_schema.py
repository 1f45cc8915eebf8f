"""The schemas for editors agree with what the program itself takes and refuses. Judged by `jsonschema`.

It takes two seconds to import: no test file does that while tests are collected.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sprue.model import ModelFile
from sprue.recipe import RecipeFile
from sprue.target_file import Strict, TargetFile
from sprue.targets import FOLDER

Run = Callable[..., subprocess.CompletedProcess[str]]
Schemas = dict[str, dict[str, Any]]

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *(("recipe", p) for p in sorted((ROOT / "recipes").glob("*.toml"))),
    *(("model", p) for p in sorted((ROOT / "models").glob("*/model.toml"))),
    *(("target", p) for p in sorted(FOLDER.glob("*.toml"))),
]
TYPES: dict[str, type[Strict]] = {"recipe": RecipeFile, "model": ModelFile, "target": TargetFile}

each_file = pytest.mark.parametrize(
    ("kind", "path"), FILES, ids=[f"{p.parent.name}/{p.name}" for _, p in FILES]
)


@pytest.fixture(scope="module")
def schemas(sprue: Run, tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    here = tmp_path_factory.mktemp("schemas")
    done = {kind: sprue(here, "schema", kind) for kind in (*TYPES, "manifest")}
    assert {kind: d.returncode for kind, d in done.items()} == dict.fromkeys(done, 0)
    return {kind: json.loads(d.stdout) for kind, d in done.items()}


def accepts(schema: dict[str, Any], value: Any) -> bool:
    return bool(judge().Draft202012Validator(schema).is_valid(value))


def judge() -> Any:
    return pytest.importorskip("jsonschema", reason="needs jsonschema (the extra `dev`)")


def test_each_schema_is_json_schema_2020_12(schemas: Schemas) -> None:
    for schema in schemas.values():
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        judge().Draft202012Validator.check_schema(schema)


@each_file
def test_what_ships_is_accepted(schemas: Schemas, kind: str, path: Path) -> None:
    judge().validate(tomllib.loads(path.read_text()), schemas[kind], judge().Draft202012Validator)


def tables(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all tables in a TOML value."""
    if not isinstance(value, dict):
        return []
    return [path, *(inner for key, v in value.items() for inner in tables(v, (*path, key)))]


@each_file
def test_a_misspelt_key_is_refused_in_every_table_of_what_ships(
    schemas: Schemas, kind: str, path: Path
) -> None:
    for table in tables(tomllib.loads(path.read_text())):
        value: Any = tomllib.loads(path.read_text())
        inner = value
        for key in table:
            inner = inner[key]
        if table == ("target",):
            continue  # its keys are the names of targets
        inner["calibrate_metod"] = 1
        assert not accepts(schemas[kind], value), table


RECIPES: list[tuple[dict[str, Any], bool]] = [
    ({"model": "m", "target": {"x": {}}}, True),
    ({"target": {"x": {"precision": "int8"}}}, True),
    ({"target": {"x": {"precision": ["int8", "float16"]}}}, True),
    ({"target": {"x": {"precision": "int9"}}}, False),
    ({"target": {"x": {"precision": ["int9"]}}}, False),
    ({"target": {"x": {"precision": []}}}, False),
    ({"target": {"x": {"precision": 8}}}, False),
    ({"target": {"x": {"backend": "c"}}}, True),
    ({"target": {"x": {"backend": []}}}, False),
    ({"target": {"x": {"backend": [1]}}}, False),
    ({"target": {"x": {"prefer": "size"}}}, True),
    ({"target": {"x": {"prefer": ["size"]}}}, False),
    ({"target": {"x": {"threads": 0}}}, False),
    ({"target": {"x": {"border": "int8"}}}, True),
    ({"target": {"x": {"border": ["int8"]}}}, False),
    ({"target": {"x": {"threads": 4}}}, True),
    ({"target": {"x": {"limit": {"ram": "64 KiB"}}}}, True),
    ({"target": {"x": {"limit": {"ram": "64.5 KiB", "flash": 4096}}}}, True),
    ({"target": {"x": {"limit": {"ram": -1}}}}, False),
    ({"target": {"x": {"limit": {"ram": "64 Kb"}}}}, False),
    ({"target": {"x": {"limit": {"ram": True}}}}, False),
    ({"accept": {"max_drop": 0.1, "atol": 0}}, True),
    ({"accept": {"max_drop": -0.1}}, False),
    ({"accept": {"max_drop": "0.1"}}, False),
    ({"version": "1.2.3-rc.1"}, True),
    ({"version": "1.2"}, False),
    ({"model": 3}, False),
    ({"extends": "base.toml"}, True),
    ({"target": {"x": {"precision": "auto"}}}, True),
    ({"target": {"x": {"precision": ["int8-mixed", "float32"]}}}, True),
    ({"target": {"x": {"threads": [1, 2], "spinning": True, "optimization": ["all", "off"]}}}, True),
    ({"target": {"x": {"threads": []}}}, False),
    ({"target": {"x": {"optimization": "most"}}}, False),
    ({"target": {"x": {"spinning": 1}}}, False),
    ({"target": {"x": {"prune": 0.3, "sparsity": [0.5, 0.9], "cluster": 16}}}, True),
    ({"target": {"x": {"prune": 1.0}}}, False),
    ({"target": {"x": {"sparsity": 0}}}, False),
    ({"target": {"x": {"cluster": 1}}}, False),
    ({"search": {"budget": "5 min"}}, True),
    ({"search": {"budget": 90, "trials": 10, "seed": 3}}, True),
    ({"search": {"trials": 10}}, False),
    ({"search": {"budget": 0}}, False),
    ({"search": {"budget": "5 min", "trials": 0}}, False),
]


@pytest.mark.parametrize(("value", "right"), RECIPES)
def test_schema_and_program_agree_on_recipes(schemas: Schemas, value: dict[str, Any], right: bool) -> None:
    assert accepts(schemas["recipe"], value) is right
    try:
        RecipeFile.model_validate(value)
        taken = True
    except ValidationError:
        taken = False
    assert taken is right


@pytest.mark.parametrize("metric", ["accuracy", "acuracy"])
def test_the_schema_of_a_model_knows_the_metrics(schemas: Schemas, metric: str) -> None:
    value = {"source": "m.onnx", "metric": metric, "data": {"evaluation": "e.npz"}}
    assert accepts(schemas["model"], value) is (metric == "accuracy")


def test_the_schema_of_a_model_wants_source_and_evaluation_data(schemas: Schemas) -> None:
    assert not accepts(schemas["model"], {"data": {"evaluation": "e.npz"}})
    assert not accepts(schemas["model"], {"source": "m.onnx"})
    assert not accepts(schemas["model"], {"source": "m.onnx", "data": {}})


def test_every_key_of_the_files_that_people_write_is_described(schemas: Schemas) -> None:
    """Editors show the description beside the key; tables say in their docstring what they are."""
    plain = {"os", "arch", "description", "platform", "limit", "accept", "gate", "metric", "data", "search"}
    for kind in TYPES:
        for table in (schemas[kind], *schemas[kind]["$defs"].values()):
            bare = {
                k
                for k, v in table.get("properties", {}).items()
                if "description" not in v and "$ref" not in v
            }
            assert bare - plain == set(), kind


def test_schema_takes_json_as_every_command_does(sprue: Run, tmp_path: Path) -> None:
    assert json.loads(sprue(tmp_path, "schema", "model", "--json").stdout)["title"] == "ModelFile"
