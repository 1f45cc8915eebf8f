"""Projects for these tests: one to spoil, one that is built, one whose backend obeys a gate."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .project import QUANTIZED, RECIPE, Project, Run, ran

GATED = """
import os, time
from pathlib import Path
from sprue.backend import find

Null = type(find("null"))

class Gated(Null):
    name = "gated"

    def compile(self, model, variant, calibration, out):
        place = Path(os.environ["GATE"])
        (place / "begun").touch()
        while (place / "brake").exists():
            time.sleep(0.02)
        if (place / "shut").exists():
            raise RuntimeError("the gate is shut")
        super().compile(model, variant, calibration, out)

BACKEND = Gated()
"""
YARD = 'description = "x"\nbackends = ["gated"]\n[platform]\nos = "linux"\narch = "any"\n'


@pytest.fixture
def tiny(project: Path, sprue: Run) -> Project:
    return Project(project, sprue)


@pytest.fixture(scope="module")
def before(
    template: Path,
    sprue: Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """A project whose int8 model is built."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("before") / "project")
    made = Project(folder, sprue)
    made.write(RECIPE, QUANTIZED)
    made.build()
    return made


@pytest.fixture
def built(before: Project, sprue: Run, tmp_path: Path) -> Project:
    """A copy of `before`, asked once more where it lies now: all is cached, and remembered as settled."""
    shutil.copytree(before.folder, tmp_path / "project")
    shutil.copytree(before.cache, tmp_path / "cache")
    made = Project(tmp_path / "project", sprue)
    assert ran(made.build()) == set()
    return made


@pytest.fixture
def gated(project: Path, sprue: Run, tmp_path: Path) -> tuple[Project, Path]:
    """A project for the gated backend, and the folder of the gate."""
    own, gate = tmp_path / "own", tmp_path / "gate"
    for folder in (own, gate):
        folder.mkdir()
    (own / "gated.py").write_text(GATED)
    (own / "yard.toml").write_text(YARD)
    backends = Path(__file__).parents[1] / "backends"
    made = Project(project, sprue, GATE=str(gate), SPRUE_TARGETS=os.pathsep.join([str(backends), str(own)]))
    made.write(RECIPE, 'model = "tiny"\n[target.yard]\n')
    return made, gate
