"""Peer: edited calibration code or data, or another quantizer -> the old model, exit code 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from .project import (
    CALIBRATION,
    EVALUATION,
    GRAIN,
    RECIPE,
    SOURCE,
    WEIGHTS,
    Project,
    artifact,
    ran,
    rescale,
    scripted,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "wait", [0, pytest.param(GRAIN, marks=pytest.mark.slow, id="after stamps are believed")]
)
def test_edited_calibration_data_makes_another_model(built: Project, wait: float) -> None:
    old = built.build()
    if wait:
        time.sleep(wait)
        assert ran(built.build()) == set()
    rescale(built.folder / CALIBRATION, 2)
    new = built.build()
    assert {"calibration", "QuantizeStatic", "compile", "verify"} <= ran(new)
    assert not {"source", "reference", "check", "Simplify"} & ran(new)
    assert artifact(new) != artifact(old)
    rescale(built.folder / CALIBRATION, 0.5)
    assert artifact(built.build()) == artifact(old)


@pytest.mark.slow
def test_what_is_rebuilt_is_what_a_fresh_cache_would_make(built: Project, tmp_path: Path) -> None:
    rescale(built.folder / CALIBRATION, 2)
    assert artifact(built.build()) == artifact(built.build(SPRUE_CACHE=str(tmp_path / "fresh")))


@pytest.mark.slow
def test_edited_evaluation_data_are_judged_anew(built: Project) -> None:
    with np.load(built.folder / EVALUATION) as file:
        x, label = file["x"], file["label"].copy()
    label[0] = (label[0] + 1) % 3
    np.savez(built.folder / EVALUATION, allow_pickle=False, x=x, label=label)
    said = built.build()
    assert {"reference", "verify"} <= ran(said)
    assert not {"QuantizeStatic", "compile"} & ran(said)
    assert said["reference"]["value"] == pytest.approx(0.95)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("train.py", SOURCE.replace('"made"', '"made again"')),
        ("weights.py", WEIGHTS.replace("default_rng(5)", "default_rng(6)")),
        ("scale.json", "0.4"),
        ("more.json", "0.4"),
    ],
    ids=["the script", "a module that it imports", "a file that it reads", "a file that was not there"],
)
def test_an_edited_source_script_makes_another_model(tiny: Project, file: str, text: str) -> None:
    scripted(tiny)
    old = tiny.build()
    assert ran(tiny.build()) == set()
    time.sleep(GRAIN)
    assert ran(tiny.build()) == set()
    tiny.write(f"models/tiny/{file}", text)
    new = tiny.build()
    assert {"source", "reference", "compile", "verify"} <= ran(new)
    assert artifact(new) != artifact(old)


@pytest.mark.slow
def test_a_recipe_edited_while_a_build_runs_is_not_taken_for_the_one_that_it_used(
    gated: tuple[Project, Path],
) -> None:
    """The build read the old recipe and ends long after the edit: the next one must see the new one."""
    project, gate = gated
    (gate / "brake").touch()
    environment = {**os.environ, **project.environment}
    command = [sys.executable, "-m", "sprue", "build", RECIPE, "--json"]
    with subprocess.Popen(
        command, cwd=project.folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        while not (gate / "begun").exists():
            time.sleep(0.02)
        recipe = (project.folder / RECIPE).read_text()
        project.write(RECIPE, recipe + 'precision = "float16"\n')
        time.sleep(GRAIN)
        (gate / "brake").unlink()
        said = json.loads(run.communicate(timeout=60)[0])
    assert run.returncode == 0
    assert [v["variant"] for v in said["targets"][0]["variants"]] == ["gated-float32"]
    time.sleep(GRAIN)
    after = project.build()
    assert [v["variant"] for v in after["targets"][0]["variants"]] == ["gated-float16"]


@pytest.mark.slow
def test_another_version_of_the_quantizer_makes_the_model_anew(built: Project, tmp_path: Path) -> None:
    metadata = tmp_path / "other" / "onnxruntime-99.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 99.1.0\n")
    other = {"PYTHONPATH": str(tmp_path / "other")}
    why = json.loads(built.sprue("explain", RECIPE, "--json", **other).stdout)
    reasons = {f["action"].rpartition("/")[2].partition("-")[0]: f["reasons"] for f in why}
    assert any(r.startswith("tool:onnxruntime: ") and r.endswith(" -> 99.1.0") for r in reasons["reference"])
    steps = ran(built.build(**other))
    assert {"reference", "check", "QuantizeStatic", "verify", "measure"} <= steps
    assert not {"source", "calibration"} & steps
    assert ran(built.build()) == set()
