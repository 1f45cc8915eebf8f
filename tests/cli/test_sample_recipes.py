"""The recipes that ship with sprue, for every target: twice from nothing, in two folders, the same bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]
STATES = {"server-cpu": "verified", "gpu": "prepared", "mobile": "verified", "cortex-m4": "verified"}
STEADY = ("--target", "gpu", "--target", "mobile", "--target", "cortex-m4")
"""server-cpu chooses by latency, which is the machine's to say, so it is built once only."""

for package in ("openvino", "ai_edge_litert", "ai_edge_quantizer", "ziglang", "unicorn"):
    pytest.importorskip(package, reason="needs all backends: pip install 'sprue[all]'")


@pytest.fixture(scope="module")
def once(sprue: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    project = copied(tmp_path_factory.mktemp("first"))
    return project, built(sprue, project)


def copied(folder: Path) -> Path:
    for name in ("models", "recipes"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def built(sprue: Run, project: Path, *options: str) -> dict[str, Any]:
    done = sprue(project, "build", "recipes", "--json", *options, SPRUE_CACHE=str(project / "cache"))
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return {r["recipe"]: r for r in answer["recipes"]}


def kept(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        t["target"]: next(v for v in t["variants"] if v["variant"] == t["kept"]) for t in recipe["targets"]
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "intent"])
def test_every_target_is_proven_as_far_as_this_machine_can(
    once: tuple[Path, dict[str, Any]], name: str
) -> None:
    project, recipes = once
    chosen = kept(recipes[name])
    assert {target: v["state"] for target, v in chosen.items()} == STATES
    assert all(abs(v["drop"]) <= 0.01 for v in chosen.values())
    assert chosen["cortex-m4"]["ram"] <= 64 * 1024
    assert chosen["cortex-m4"]["instructions"] > 1000
    folder = project / recipes[name]["bundle"]["folder"]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.slow
def test_the_same_sources_give_the_same_bundles_in_another_folder(
    once: tuple[Path, dict[str, Any]], sprue: Run, tmp_path: Path
) -> None:
    ids = [
        {n: r["bundle"]["id"] for n, r in built(sprue, project, *STEADY).items()}
        for project in (once[0], copied(tmp_path / "other"))
    ]
    assert ids[0] == ids[1]
