"""`sprue build` from end to end: the same bundle anywhere, nothing twice, and nothing half."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "recipes/tiny.toml"


def built(sprue: Run, project: Path, *options: str, **environment: str) -> dict[str, Any]:
    done = sprue(project, "build", RECIPE, "--json", *options, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["ok"] is True
    return told


def states(told: dict[str, Any]) -> set[str]:
    return set(told["actions"].values())


@pytest.fixture(scope="module")
def once(
    template: Path, sprue: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Path]:
    """A project that was built once in a cache of its own: project, what was said, the bundle's folder."""
    project = shutil.copytree(template, tmp_path_factory.mktemp("once") / "project")
    told = built(sprue, project, SPRUE_CACHE=str(project / "cache"))
    return project, told, project / Path(told["bundle"]["folder"])


def test_the_first_build_does_everything_and_the_second_nothing(
    once: tuple[Path, dict[str, Any], Path], sprue: Run
) -> None:
    project, told, folder = once
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert states(told) == {"done"}
    again = built(sprue, project, SPRUE_CACHE=str(project / "cache"))
    assert states(again) == {"cached"}
    assert again["bundle"]["id"] == told["bundle"]["id"]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_another_timeout_or_number_of_jobs_makes_nothing_anew(
    once: tuple[Path, dict[str, Any], Path], sprue: Run
) -> None:
    project, told, _ = once
    (project / "recipes" / "tiny.toml").touch()
    again = built(sprue, project, "--timeout", "77", "--jobs", "1", SPRUE_CACHE=str(project / "cache"))
    assert states(again) == {"cached"}
    assert again["bundle"]["id"] == told["bundle"]["id"]


def test_sha256sum_accepts_the_bundle_and_its_id_is_its_manifests(
    once: tuple[Path, dict[str, Any], Path],
) -> None:
    _, told, folder = once
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("needs sha256sum")
    done = subprocess.run(
        [tool, "-c", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    named = {line.partition(": ")[0] for line in done.stdout.splitlines()}
    assert named | {"SHA256SUMS"} == {
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    }
    assert hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() == told["bundle"]["id"]


def test_the_bundle_holds_model_data_artifact_goldens_and_evidence(
    once: tuple[Path, dict[str, Any], Path],
) -> None:
    project, _, folder = once
    tiny = project / "models" / "tiny"
    for name in ("evaluation.npz", "calibration.npz"):
        assert (folder / "data" / name).read_bytes() == (tiny / name).read_bytes()
    assert (folder / "model" / "model.onnx").is_file()
    assert (folder / "targets" / "null" / "artifact" / "model.onnx").is_file()
    with (
        np.load(folder / "targets" / "null" / "golden" / "inputs.npz") as golden,
        np.load(tiny / "evaluation.npz") as data,
    ):
        np.testing.assert_array_equal(golden["x"], data["x"][: len(golden["x"])])
    (tried,) = json.loads((folder / "evidence" / "variants.json").read_text())
    assert (tried["variant"], tried["state"], tried["selected"], tried["why"]) == (
        "null-float32",
        "verified",
        True,
        "the only candidate",
    )


def test_no_path_of_this_machine_is_in_the_bundle(once: tuple[Path, dict[str, Any], Path]) -> None:
    project, _, folder = once
    for path in folder.rglob("*"):
        if path.is_file():
            assert str(project).encode() not in path.read_bytes(), path


def test_bundle_commands_find_and_prove_it(once: tuple[Path, dict[str, Any], Path], sprue: Run) -> None:
    project, told, folder = once
    listed = json.loads(sprue(project, "bundle", "list", "--json").stdout)
    assert [(s["name"], s["version"], s["id"]) for s in listed] == [("tiny", "1.2.3", told["bundle"]["id"])]
    assert (
        json.loads(sprue(project, "bundle", "show", "tiny@1.2.3", "--json").stdout)["id"]
        == told["bundle"]["id"]
    )
    assert sprue(project, "bundle", "verify", "tiny@1.2.3").returncode == 0
    damaged = shutil.copytree(folder, project / "damaged")
    golden = damaged / "targets" / "null" / "golden" / "inputs.npz"
    golden.chmod(0o644)
    golden.write_bytes(golden.read_bytes()[:-1] + b"x")
    done = sprue(project, "bundle", "verify", damaged)
    assert done.returncode == 1
    assert "targets/null/golden/inputs.npz is damaged" in done.stderr


@pytest.mark.slow
def test_an_edited_recipe_makes_only_what_depends_on_it_anew(project: Path, sprue: Run) -> None:
    own = {"SPRUE_CACHE": str(project / "cache")}
    first = built(sprue, project, **own)
    with (project / RECIPE).open("a") as recipe:
        recipe.write("accept.max_drop = 0.5\n")
    second = built(sprue, project, **own)
    assert states(second) == {"cached"}
    assert second["bundle"]["id"] != first["bundle"]["id"]
    with (project / RECIPE).open("a") as recipe:
        recipe.write("accept.atol = 0.25\n")
    third = built(sprue, project, **own)
    redone = {name.rpartition("/")[2] for name, state in third["actions"].items() if state == "done"}
    assert redone == {"verify"}


@pytest.mark.slow
def test_changed_data_is_never_judged_by_old_results(project: Path, sprue: Run) -> None:
    own = {"SPRUE_CACHE": str(project / "cache")}
    built(sprue, project, **own)
    path = project / "models" / "tiny" / "evaluation.npz"
    stamp = path.stat()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["label"] = (arrays["label"] + 1) % 3
    np.savez(path, allow_pickle=False, **arrays)
    assert path.stat().st_size == stamp.st_size
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    told = built(sprue, project, **own)
    assert told["reference"]["value"] < 0.5


@pytest.mark.slow
def test_a_build_that_fails_leaves_the_store_as_it_was(project: Path, sprue: Run) -> None:
    built(sprue, project)
    store = project / "bundles"
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in [store, *store.rglob("*")]}
    (project / RECIPE).write_text(
        'model = "tiny"\nversion = "1.2.4"\n[target.null]\nbackend = ["null", "raises"]\n'
    )
    assert sprue(project, "build", RECIPE).returncode == 1
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in [store, *store.rglob("*")]} == before


@pytest.mark.slow
def test_a_limit_that_only_the_artifact_shows_fails_without_a_bundle(project: Path, sprue: Run) -> None:
    """The null backend has no findings about flash, so the verdict has to catch it."""
    (project / RECIPE).write_text('model = "tiny"\n[target.null]\nlimit = { flash = "100 B" }\n')
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 1
    assert "bytes of flash, limit.flash is 100" in done.stdout
    (project / RECIPE).write_text('model = "tiny"\n[target.null]\nlimit = { ram = "1 GiB" }\n')
    done = sprue(project, "build", RECIPE)
    assert done.returncode == 1
    assert "limit.ram is 1073741824 bytes, and this backend cannot tell what it needs" in done.stdout
    assert not (project / "bundles").exists()


def test_no_freeze_proves_and_leaves_nothing(project: Path, sprue: Run) -> None:
    assert built(sprue, project, "--no-freeze")["bundle"] is None
    assert not (project / "bundles").exists()


@pytest.mark.slow
def test_calibration_data_is_wanted_only_by_what_needs_it(project: Path, sprue: Run) -> None:
    toml = project / "models" / "tiny" / "model.toml"
    toml.write_text(toml.read_text().replace('calibration = "calibration.npz"\n', ""))
    built(sprue, project, "--no-freeze")
    (project / RECIPE).write_text('model = "tiny"\n[target.null]\nprecision = "int8"\n')
    for command in ("check", "build"):
        done = sprue(project, command, RECIPE)
        assert done.returncode in (1, 2)
        assert "needs calibration data" in done.stdout + done.stderr
        assert 'add calibration = "calibration.npz" to [data]' in done.stdout + done.stderr


@pytest.mark.slow
def test_a_python_source_is_built_and_kept_in_the_cache(project: Path, sprue: Run) -> None:
    tiny = project / "models" / "tiny"
    (tiny / "train.py").write_text(
        "import pathlib\nimport onnx\n\ndef export():\n    print('exporting')\n"
        "    return onnx.load(pathlib.Path(__file__).with_name('tiny.onnx'))\n"
    )
    toml = tiny / "model.toml"
    toml.write_text(toml.read_text().replace("tiny.onnx", "train.py:export"))
    own = {"SPRUE_CACHE": str(project / "cache")}
    first = built(sprue, project, **own)
    assert states(first) == {"done"}
    again = built(sprue, project, "--timeout", "99", **own)
    assert states(again) == {"cached"}
    (tiny / "train.py").write_text((tiny / "train.py").read_text() + "# edited\n")
    third = built(sprue, project, **own)
    assert third["actions"]["tiny/source"] == "done"
    assert third["actions"]["tiny/reference"] == "cached"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def export(): raise ValueError('no data')", "the source failed: ValueError: no data"),
        ("def export(): return 3", "returned int, not an onnx.ModelProto"),
        (
            "import sys\ndef export(): print('so far'); sys.exit(0)",
            "ended its process before it returned a model",
        ),
        ("import os\ndef export(): os.abort()", "the source's process was ended by SIGABRT"),
        (
            "import time\ndef export(): time.sleep(600)",
            "it took longer than 6 s and was stopped (in the step tiny/source)\n  allow more with --timeout",
        ),
    ],
)
def test_a_python_source_that_fails_ends_the_build_with_its_name(
    project: Path, sprue: Run, text: str, words: str
) -> None:
    tiny = project / "models" / "tiny"
    (tiny / "train.py").write_text(text)
    toml = tiny / "model.toml"
    toml.write_text(toml.read_text().replace("tiny.onnx", "train.py:export"))
    done = sprue(project, "build", RECIPE, "--timeout", "6")
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert f"error: {tiny}/train.py:export: " in done.stderr or "(in the step tiny/source)" in done.stderr
    assert "Traceback" not in done.stderr.partition("error: ")[2]
    assert not (project / "bundles").exists()
    check = sprue(project, "check", RECIPE)
    assert check.returncode == 2
    assert "model.toml:1: check never runs a recipe's own code" in check.stderr


@pytest.mark.slow
def test_the_epoch_is_the_bundles_time_and_a_wrong_one_is_refused(project: Path, sprue: Run) -> None:
    told = built(sprue, project, SOURCE_DATE_EPOCH="1700000000")
    shown = json.loads(sprue(project, "bundle", "show", "tiny@1.2.3", "--json").stdout)
    assert shown["id"] == told["bundle"]["id"]
    assert shown["createdAt"] == "2023-11-14T22:13:20Z"
    for wrong in ("soon", "9" * 30):
        done = sprue(project, "build", RECIPE, SOURCE_DATE_EPOCH=wrong)
        assert done.returncode == 2
        assert "SOURCE_DATE_EPOCH" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_digits_recipe_gives_the_same_bundle_in_any_folder(sprue: Run, tmp_path: Path) -> None:
    ids = set()
    for place in ("here", "somewhere else/deep"):
        project = tmp_path / place
        for name in ("models/digits", "recipes"):
            shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        options = ("--target", "server-cpu", "--variant", "onnxruntime-int8-static", "--json")
        done = sprue(project, "build", "recipes/digits.toml", *options, SPRUE_CACHE=str(project / "cache"))
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert states(told) == {"done"}
        ids.add(told["bundle"]["id"])
    assert len(ids) == 1
