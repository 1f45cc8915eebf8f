"""The command line as a whole: exit codes, JSON, hints, and what it costs to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

HEAVY = ["numpy", "onnx", "onnxruntime", "pydantic", "rich", "jinja2"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "start",
    [
        "import sprue",
        "import sprue.cli",
        "from sprue.cli import commands; commands.main(['--help'], standalone_mode=False)",
        "from sprue.cli import commands; commands.main(['build', '--help'], standalone_mode=False)",
        "from sprue.cli import commands; commands.main(['bundle', '--help'], standalone_mode=False)",
    ],
)
def test_starting_imports_nothing_heavy(start: str) -> None:
    script = f"import sys\n{start}\nprint([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"


def test_planning_and_refusing_a_recipe_imports_no_network(project: Path) -> None:
    """A typing mistake is answered before numpy and onnx are paid for."""
    (project / "recipes" / "tiny.toml").write_text('modell = "x"\n')
    script = (
        "import sys\nfrom pathlib import Path\nfrom sprue.errors import SprueError\n"
        "from sprue.recipe import load_recipe\n"
        "try: load_recipe(Path('recipes/tiny.toml'))\n"
        "except SprueError: pass\n"
        "print([m for m in ('numpy', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_lists_every_command(sprue: Run, tmp_path: Path) -> None:
    done = sprue(tmp_path, "--help")
    assert done.returncode == 0
    for name in ("build", "bundle", "check", "doctor", "schema", "show"):
        assert f"\n  {name} " in done.stdout
        assert sprue(tmp_path, name, "-h").returncode == 0


def test_every_command_takes_json() -> None:
    import click

    from sprue.cli import commands

    def leaves(group: click.Group, context: click.Context) -> list[click.Command]:
        found = [group.get_command(context, name) for name in group.list_commands(context)]
        return [c for f in found if f for c in (leaves(f, context) if isinstance(f, click.Group) else [f])]

    without = [
        c.name
        for c in leaves(commands, click.Context(commands))
        if "as_json" not in {p.name for p in c.params}
    ]
    assert without == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chek"], "No such command 'chek'"),
        (["chek"], "did you mean 'check'?"),
        (["bundle", "lst"], "No such command 'lst'"),
        (["check"], "Missing argument 'RECIPE'"),
        (["check", "r.toml", "--jsn"], "--json"),
        (["check", "absent.toml"], "absent.toml: there is no such file\n  there is no .toml file in "),
        (
            ["build", "models/tiny"],
            "model.toml: this describes a model, and is no recipe\n  name a",
        ),
        (["build", "models/tiny/tiny.onnx"], "tiny.onnx: not a recipe\n  name a TOML file, such as recipes/"),
        (["check", "tiny"], "tiny: there is no such file\n  did you mean recipes/tiny.toml?"),
        (
            ["build", "recipes/tiny.toml", "--store", "recipes/tiny.toml"],
            "bundles need a folder\n  name",
        ),
        (
            ["build", "recipes/tiny.toml", "--trace", "absent/t"],
            "absent/t: No such file or directory\n  na",
        ),
        (["build", "r.toml", "--jobs", "0"], "--jobs"),
        (["build", "r.toml", "--timeout", "-1"], "--timeout"),
        (["schema", "receipt"], "receipt"),
        (["bundle", "show", "tiny@9.9.9"], "there is no bundle 'tiny@9.9.9'"),
        (["bundle", "show", "../x"], "'../x' is not a bundle's name"),
        (["bundle", "verify"], "Missing argument"),
        ([], "Usage: "),
    ],
)
def test_a_wrong_question_exits_2_and_says_what_is_wrong(
    sprue: Run, project: Path, arguments: list[str], words: str
) -> None:
    done = sprue(project, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_target_or_variant_of_a_recipe_is_answered_with_the_nearest(
    project: Path, sprue: Run
) -> None:
    done = sprue(project, "check", "recipes/tiny.toml", "--target", "nul")
    assert done.returncode == 2
    assert "the recipe has no target 'nul'\n  did you mean 'null'? allowed: null" in done.stderr
    done = sprue(project, "check", "recipes/tiny.toml", "--variant", "null-float16")
    assert done.returncode == 2
    assert "the recipe has no variant 'null-float16'\n  did you mean 'null-float32'?" in done.stderr


def test_check_of_what_works_exits_0_and_answers_in_json(project: Path, sprue: Run) -> None:
    done = sprue(project, "check", "recipes/tiny.toml", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (warning,) = told.pop("warnings")
    assert warning.startswith("20 of 20 evaluation samples are calibration samples, too: 0, 1, 2,")
    assert told == {
        "ok": True,
        "variants": [
            {
                "target": "null",
                "variant": "null-float32",
                "missing": None,
                "findings": [],
                "limits": {"flash": None, "ram": None},
                "predicted": None,
            }
        ],
    }


def test_an_error_is_json_too_where_json_is_asked_for(sprue: Run, tmp_path: Path) -> None:
    done = sprue(tmp_path, "check", "absent.toml", "--json")
    assert done.returncode == 2
    error = {"what": "there is no such file", "where": "absent.toml"}
    error["remedy"] = "there is no .toml file in ."
    assert json.loads(done.stdout) == {"ok": False, "error": error}
    misused = json.loads(sprue(tmp_path, "check", "x.toml", "--taget", "gpu", "--json").stdout)
    assert "--taget" in misused["error"]["what"]


def test_a_file_name_that_the_locale_has_no_letters_for_is_an_error_and_no_traceback(
    project: Path, sprue: Run
) -> None:
    moved = project.rename(project.with_name("Grüße"))
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = sprue(moved, "build", "recipes/tiny.toml", **locale)
    assert done.returncode == 2
    assert "set PYTHONUTF8=1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_that_is_a_file_is_an_error_and_no_traceback(project: Path, sprue: Run) -> None:
    (project / "file").write_text("x")
    for place in ("file", "file/below"):
        done = sprue(project, "build", "recipes/tiny.toml", "--cache", place)
        assert done.returncode == 2, done.stderr
        assert "file" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_cache_is_left_alone(project: Path, sprue: Run) -> None:
    done = sprue(project, "build", "recipes/tiny.toml", "--cache", "recipes")
    assert done.returncode == 2
    assert "recipes: not a sprue cache, and not empty\n  name another folder with --cache" in done.stderr
    assert [p.name for p in (project / "recipes").iterdir()] == ["tiny.toml"]


def test_the_reader_of_a_pipe_may_leave(sprue: Run, tmp_path: Path) -> None:
    script = f"{sys.executable} -m sprue schema recipe | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_show_prints_the_recipe_as_it_is_written(project: Path, sprue: Run) -> None:
    done = sprue(project, "show", "recipes/tiny.toml")
    assert (done.returncode, done.stdout) == (0, (project / "recipes" / "tiny.toml").read_text())


def test_show_resolved_prints_every_value_and_where_it_came_from(project: Path, sprue: Run) -> None:
    (project / "recipes" / "base.toml").write_text(
        "[accept]\nmax_drop = 0.02\n[target.server-cpu]\nthreads = 2\n"
    )
    (project / "recipes" / "tiny.toml").write_text(
        'extends = "base.toml"\nmodel = "tiny"\n[target.server-cpu]\nprecision = ["float32", "int8"]\n'
        "accept.atol = 0.5\n"
    )
    done = sprue(project, "show", "--resolved", "recipes/tiny.toml")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("#") for line in done.stdout.splitlines())
    assert {k.strip(): v.strip() for k, v in lines.items()} == {
        'model = "tiny"': "recipes/tiny.toml:2",
        'version = "0.1.0"': "default",
        'target.server-cpu.backend = ["onnxruntime"]': "targets/server-cpu.toml",
        'target.server-cpu.precision = ["float32", "int8-static"]': "recipes/tiny.toml:4",
        "target.server-cpu.threads = [2]": "recipes/base.toml:4",
        'target.server-cpu.prefer = "latency"': "default",
        "target.server-cpu.accept.max_drop = 0.02": "recipes/base.toml:2",
        "target.server-cpu.gate.metric = 0.005": "default",
        "target.server-cpu.gate.size = 0.02": "default",
        "target.server-cpu.gate.latency = 0.1": "default",
        "target.server-cpu.gate.cost = 0.1": "default",
        "target.server-cpu.accept.atol = 0.5": "recipes/tiny.toml:5",
    }
    told = json.loads(sprue(project, "show", "--resolved", "--json", "recipes/tiny.toml").stdout)
    assert told["target.server-cpu.threads"] == {"value": [2], "from": "recipes/base.toml:4"}


def test_the_checkouts_build_py_is_the_same_program(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "build.py"), "schema", "model"]
    done = subprocess.run(
        script, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["title"] == "ModelFile"


@pytest.mark.slow
def test_check_of_the_sample_says_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    """It is to take under a second; machines differ, so that is printed, not asserted."""
    import time

    started = time.perf_counter()
    command = [sys.executable, "-m", "sprue", "check", "recipes/digits.toml", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    with capsys.disabled():
        print(f" [sprue check recipes/digits.toml: {seconds:.2f} s with interpreter start] ", end="")
    assert json.loads(done.stdout)["ok"] is (done.returncode == 0)
