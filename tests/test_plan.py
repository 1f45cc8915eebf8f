"""From a recipe to actions: what is shared, what enters which key, and what does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sprue.engine.action import Action, Output, graph
from sprue.errors import SprueError
from sprue.plan import Plan, plan
from sprue.recipe import load_recipe

RECIPE = """
model = "tiny"
[target.server-cpu]
precision = ["float32", "int8-dynamic", "int8-static"]
"""


def planned(project: Path, text: str = RECIPE, **options: Any) -> Plan:
    (project / "recipes" / "tiny.toml").write_text(text)
    return plan(load_recipe(project / "recipes" / "tiny.toml"), **options)


def by_step(made: Plan, step: str) -> list[Action]:
    return [a for a in made.actions if a.name.rpartition("/")[2].partition("-")[0] == step]


def keyed(action: Action) -> tuple[Any, ...]:
    """All of an action that enters its key, and its inputs by name."""
    return action.function, action.version, dict(action.params), dict(action.tools), dict(action.inputs)


def changed(one: Plan, other: Plan) -> set[str]:
    """The steps whose own part of the key differs."""
    before, after = ({a.name: keyed(a) for a in p.actions} for p in (one, other))
    assert before.keys() == after.keys()
    return {name.rpartition("/")[2].partition("-")[0] for name in before if before[name] != after[name]}


def test_a_plan_is_a_graph_from_source_to_verdict(project: Path) -> None:
    made = planned(project)
    ordered = list(graph(made.actions))
    for variant in made.variants:
        steps = [made.source, variant.check, variant.compile, variant.verify]
        assert sorted(steps, key=ordered.index) == steps
    assert ordered[0] == "tiny/source"
    assert {a.name for a in made.actions} >= {"tiny/source", "tiny/reference", "tiny/calibration"}


def test_variants_share_the_beginnings_of_their_passes(project: Path) -> None:
    made = planned(project)
    assert len(made.variants) == 3
    assert len(by_step(made, "Simplify")) == 1
    assert len({a.name for a in made.actions}) == len(made.actions)


def test_calibration_enters_only_what_needs_it(project: Path) -> None:
    made = planned(project)
    shared = (made.calibration, made.overlap)
    readers = {a.name for a in made.actions if "calibration" in a.inputs and a.name not in shared}
    assert readers
    assert all("QuantizeStatic" in name or name.endswith("static/saturation") for name in readers)


def test_without_calibration_data_static_quantization_cannot_be_planned(project: Path) -> None:
    toml = project / "models" / "tiny" / "model.toml"
    toml.write_text(toml.read_text().replace('calibration = "calibration.npz"\n', ""))
    with pytest.raises(
        SprueError, match="onnxruntime-int8-static for target 'server-cpu' needs calibration"
    ) as caught:
        planned(project)
    assert caught.value.where == str(toml)
    assert planned(project, RECIPE.replace(', "int8-static"', "")).calibration == ""


def test_a_timeout_is_in_no_key(project: Path) -> None:
    one, other = planned(project, timeout=1.0), planned(project, timeout=2.0)
    assert changed(one, other) == set()
    assert {a.timeout for a in other.actions} == {2.0}


@pytest.mark.parametrize(
    ("added", "steps"),
    [
        ("accept.max_drop = 0.5", set()),
        ('prefer = "size"', set()),
        ("accept.atol = 0.5", {"verify"}),
        ('limit.flash = "1 MiB"', {"check"}),
    ],
)
def test_what_a_recipe_changes_is_made_anew_and_nothing_else(
    project: Path, added: str, steps: set[str]
) -> None:
    assert changed(planned(project), planned(project, f"{RECIPE}{added}\n")) == steps


def test_variants_that_only_run_otherwise_share_one_artifact(project: Path) -> None:
    made = planned(project, f"{RECIPE}threads = [1, 2]\nspinning = [false, true]\n")
    compiled = {v.variant.id: v.compile for v in made.variants}
    assert len(compiled) == 3 * 2 * 2
    assert len(set(compiled.values())) == 3
    assert len({v.verify for v in made.variants}) == len(made.variants)
    assert "onnxruntime-int8-static-2threads-spinning" in compiled
    assert by_step(made, "compile") == by_step(planned(project), "compile")


def test_a_setting_that_is_written_into_the_artifact_makes_another_one(project: Path) -> None:
    recipe = RECIPE.replace('["float32", "int8-dynamic", "int8-static"]', '"float32"')
    made = planned(project, f'{recipe}backend = "openvino"\nthreads = [1, 2]\n')
    assert len({v.compile for v in made.variants}) == 2


def test_an_onnx_file_is_its_own_source_and_a_python_file_all_that_stands_beside_it(project: Path) -> None:
    tiny = project / "models" / "tiny"
    made = planned(project)
    assert {a.name: a for a in made.actions}[made.source].inputs == {"source": tiny.resolve() / "tiny.onnx"}
    (tiny / "train.py").write_text("")
    toml = tiny / "model.toml"
    toml.write_text(toml.read_text().replace("tiny.onnx", "train.py:export"))
    made = planned(project)
    assert {a.name: a for a in made.actions}[made.source].inputs == {"source": tiny.resolve()}


def test_no_key_holds_a_path_of_this_machine(project: Path) -> None:
    for action in planned(project).actions:
        said = json.dumps([action.name, action.function, dict(action.params), dict(action.tools)])
        assert str(project) not in said
        assert not any(isinstance(v, Output) and "/" not in v.action for v in action.inputs.values())


def test_a_plan_is_the_same_in_every_process(project: Path) -> None:
    planned(project)
    script = (
        "from pathlib import Path\nfrom sprue.plan import plan\nfrom sprue.recipe import load_recipe\n"
        "made = plan(load_recipe(Path('recipes/tiny.toml')))\n"
        "print([(a.name, sorted(a.params.items()), sorted(a.tools.items())) for a in made.actions])\n"
        "import sys; print([m for m in ('onnxruntime', 'openvino') if m in sys.modules])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=project,
            env={"PYTHONHASHSEED": seed, "SPRUE_TARGETS": str(Path(__file__).with_name("backends"))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert said.pop().splitlines()[-1] == "[]"
