"""A backend crashes, hangs, is killed, raises or is silent: its variant fails by name, the others finish."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]

FAULTS = {
    ("aborts", "float32"): "compile: its process was ended by SIGABRT",
    ("aborts", "float16"): "verify: its process was ended by SIGABRT",
    ("killed", "float32"): "compile: its process was ended by SIGKILL, perhaps for want of memory",
    ("killed", "float16"): "verify: its process was ended by SIGKILL, perhaps for want of memory",
    ("raises", "float32"): "compile: ZeroDivisionError: of its own making",
    ("raises", "float16"): "verify: ZeroDivisionError: of its own making",
    ("silent", "float32"): "compile: backend 'silent' reported success but made no model.onnx",
    ("silent", "float16"): "the artifact's outputs are [], the model's are ['y']",
}


@pytest.fixture(scope="module")
def answer(
    template: Path, sprue: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], str, Path]:
    """One build with every fault but hanging, on a terminal's text and as JSON, and its folder."""
    folder = tmp_path_factory.mktemp("faulty")
    backends = ["null", *dict.fromkeys(name for name, _ in FAULTS)]
    (folder / "recipes").mkdir()
    (folder / "models").symlink_to(template / "models")
    choice = f'backend = {backends}\nprecision = ["float32", "float16", "int8-dynamic"]\n'
    (folder / "recipes" / "r.toml").write_text(f'model = "tiny"\n[target.null]\n{choice}')
    done = sprue(folder, "build", "recipes/r.toml", "--json")
    assert done.returncode == 1, done.stderr
    text = sprue(folder, "build", "recipes/r.toml")
    assert text.returncode == 1
    assert "Traceback" not in done.stderr + text.stdout + text.stderr
    return json.loads(done.stdout), text.stdout, folder


def variants(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (target,) = answer["targets"]
    return {v["variant"]: v for v in target["variants"]}


@pytest.mark.parametrize(("backend", "precision"), FAULTS)
def test_a_fault_fails_its_own_variant_by_name(
    answer: tuple[dict[str, Any], str, Path], backend: str, precision: str
) -> None:
    made, text, _ = answer
    variant = variants(made)[f"{backend}-{precision}"]
    assert (variant["state"], variant["reason"]) == ("failed", FAULTS[backend, precision])
    assert f"null {backend}-{precision}: {FAULTS[backend, precision]}" in text


def test_the_other_variants_finish(answer: tuple[dict[str, Any], str, Path]) -> None:
    """Those that gain nothing against float32 are refused, which they could not be if they had not run."""
    found = variants(answer[0])
    passed = {name for name, v in found.items() if v["state"] in ("verified", "refused")}
    assert passed == {f"{b}-int8-dynamic" for b in ("aborts", "killed", "raises", "silent")} | {
        f"null-{p}" for p in ("float32", "float16", "int8-dynamic")
    }
    assert all(found[name]["measured"]["timing"]["p50"] > 0 for name in passed)


def test_a_broken_variant_means_no_bundle_and_says_so(answer: tuple[dict[str, Any], str, Path]) -> None:
    made, text, folder = answer
    assert made["ok"] is False
    assert made["bundle"] is None
    assert "no bundle: a variant broke" in text
    assert sorted(p.name for p in folder.iterdir()) == ["models", "recipes"]


def test_the_log_of_a_bug_is_named_and_holds_its_traceback(answer: tuple[dict[str, Any], str, Path]) -> None:
    _, text, _ = answer
    after = text.partition("raises-float32: compile: ZeroDivisionError")[2]
    log = Path(after.partition("log: ")[2].splitlines()[0])
    assert "ZeroDivisionError: of its own making" in log.read_text()


def test_a_variant_that_breaks_while_it_is_timed_fails_alone(project: Path, sprue: Run) -> None:
    """Rivals are timed side by side, in one process: it must not take them along."""
    (project / "recipes" / "tiny.toml").write_text(
        'model = "tiny"\n[target.null]\nbackend = ["null", "single"]\n'
    )
    done = sprue(project, "build", "recipes/tiny.toml", "--json")
    assert done.returncode == 1, done.stderr
    found = variants(json.loads(done.stdout))
    assert found["single-float32"]["reason"] == "measure: its process was ended by SIGABRT"
    assert found["null-float32"]["state"] == "verified"
    assert found["null-float32"]["measured"]["timing"]["p50"] > 0
    assert not (project / "bundles").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "step"), [("float32", "compile"), ("float16", "verify")])
def test_a_backend_that_hangs_is_stopped_by_the_timeout(
    project: Path, sprue: Run, precision: str, step: str
) -> None:
    recipe = f'model = "tiny"\n[target.null]\nbackend = ["hangs", "null"]\nprecision = "{precision}"\n'
    (project / "recipes" / "tiny.toml").write_text(recipe)
    done = sprue(project, "build", "recipes/tiny.toml", "--json", "--timeout", "8")
    assert done.returncode == 1
    found = variants(json.loads(done.stdout))
    assert found[f"hangs-{precision}"]["reason"] == f"{step}: it took longer than 8 s and was stopped"
    assert found[f"null-{precision}"]["state"] == "verified"
    assert not (project / "bundles").exists()


def test_a_backend_that_cannot_be_imported_is_named(project: Path, sprue: Run, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "broken.py").write_text("import no_such_package\n")
    (tmp_path / "own" / "shed.toml").write_text(
        'description = "x"\nbackends = ["broken"]\n[platform]\nos = "linux"\narch = "any"\n'
    )
    (project / "recipes" / "tiny.toml").write_text('model = "tiny"\n[target.shed]\n')
    done = sprue(project, "check", "recipes/tiny.toml", SPRUE_TARGETS=str(tmp_path / "own"))
    assert done.returncode == 2
    assert "the backend 'broken' cannot be imported: ModuleNotFoundError: No module named" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_of_a_broken_backend_what_is_wrong_and_goes_on(sprue: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_package\n")
    (tmp_path / "raw.py").write_text("class Raw:\n    def available(self): return 1 / 0\n\nBACKEND = Raw()\n")
    done = sprue(tmp_path, "doctor", "--json", SPRUE_TARGETS=str(tmp_path))
    assert done.returncode == 0, done.stderr
    backends = json.loads(done.stdout)["backends"]
    assert "No module named 'no_such_package'" in backends["broken"]["missing"]
    assert backends["raw"]["missing"] == "division by zero"
    assert "SPRUE_TARGETS" in backends["raw"]["install"]
    assert backends["onnxruntime"]["compiles"] is True
    text = sprue(tmp_path, "doctor", SPRUE_TARGETS=str(tmp_path))
    assert text.returncode == 0
    assert "broken: " in text.stdout


def test_ones_own_target_and_backend_work_beside_those_that_ship(project: Path, sprue: Run) -> None:
    done = sprue(project, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"null", "server-cpu"} <= set(told["targets"])
    assert told["backends"]["null"]["executes"] is True
    assert "onnxruntime" in told["backends"]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"onnxruntime.py": ""}, "there is a module 'onnxruntime' in "),
        ({"_findings.py": ""}, "there is a module '_findings' in "),
        ({"server-cpu.toml": "x = 1"}, "target 'server-cpu' is defined twice, here and in "),
        ({"my board.toml": "x = 1"}, "'my board' cannot be the name of a target"),
        (None, "SPRUE_TARGETS names it, but there is no such folder"),
    ],
)
def test_ones_own_folder_hides_nothing_that_ships(
    project: Path, sprue: Run, tmp_path: Path, own: dict[str, str] | None, words: str
) -> None:
    folder = tmp_path / "own"
    if own is not None:
        folder.mkdir()
        for name, text in own.items():
            (folder / name).write_text(text)
    done = sprue(project, "doctor", SPRUE_TARGETS=os.pathsep.join([str(folder), ""]))
    assert done.returncode == 2
    assert str(folder) in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
