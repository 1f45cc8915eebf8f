"""Peer: a data loader that raises -> no model and exit code 0; a healthy run is given an earlier failure."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .project import CALIBRATION, Project, ran, scripted


def raising(body: str) -> Callable[[Project], None]:
    def spoil(project: Project) -> None:
        scripted(project)
        project.write("models/tiny/train.py", f"def export():\n    {body}\n")

    return spoil


def without_calibration(project: Project) -> None:
    (project.folder / CALIBRATION).write_bytes(b"")


LOADERS: dict[str, tuple[Callable[[Project], None], str]] = {
    "raises": (
        raising("raise ValueError('no split')"),
        "train.py:export: the source failed: ValueError: no split",
    ),
    "exits with 0": (raising("raise SystemExit(0)"), "train.py:export: the source ended its process before"),
    "returns nothing": (raising("return None"), "returned NoneType, not an onnx.ModelProto"),
    "lacks a module": (raising("import no_such_module"), "No module named 'no_such_module'"),
    "is killed": (raising("import os; os.kill(os.getpid(), 9)"), "the source's process was ended by SIGKILL"),
    "reads an empty file": (without_calibration, "calibration.npz: not a readable .npz file"),
}


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_a_loader_that_fails_fails_the_build_and_the_next_one_is_healthy(tiny: Project, loader: str) -> None:
    spoil, words = LOADERS[loader]
    whole = tiny.folder.parent / "whole"
    shutil.copytree(tiny.folder / "models", whole)
    spoil(tiny)
    for _ in range(2):
        assert words in tiny.refused(code=2)
    shutil.rmtree(tiny.folder / "models")
    shutil.copytree(whole, tiny.folder / "models")
    assert "parity" in ran(tiny.build())


# Peer: a healthy run after a failed one is given the failure.


@pytest.mark.slow
def test_a_failure_is_not_remembered_for_the_same_key(gated: tuple[Project, Path]) -> None:
    project, gate = gated
    (gate / "shut").touch()
    for _ in range(2):
        said = project.refused(code=1)
        assert "gated-float32: compile: RuntimeError: the gate is shut" in said
    (gate / "shut").unlink()
    healthy = project.build()
    assert {"compile", "verify"} == ran(healthy) - {"measure", "memory", "parity"}
    assert ran(project.build()) == set()
    (gate / "shut").touch()
    assert ran(project.build()) == set()
