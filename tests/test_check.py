"""What cannot work is said before anything is compiled: for all variants at once, or for one by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sprue import check as checking
from sprue.backend import Availability, find
from sprue.check import check
from sprue.errors import SprueError
from sprue.recipe import load_recipe


def recipe(project: Path, text: str) -> Path:
    path = project / "recipes" / "tiny.toml"
    path.write_text(f'model = "tiny"\n[target.server-cpu]\n{text}')
    return path


def test_what_works_has_nothing_against_it(project: Path) -> None:
    found = check(load_recipe(recipe(project, 'precision = ["float32", "int8-dynamic", "int8"]\n'))).variants
    assert [(c.variant.id, c.ok) for c in found] == [
        ("onnxruntime-float32", True),
        ("onnxruntime-int8-dynamic", True),
        ("onnxruntime-int8-static", True),
    ]


def test_what_backends_would_offer_is_checked_too(project: Path) -> None:
    found = check(load_recipe(recipe(project, 'precision = "auto"\nthreads = [1, 2]\n'))).variants
    assert [(c.variant.id, c.ok) for c in found] == [
        ("onnxruntime-int8-dynamic", True),
        ("onnxruntime-int8-static", True),
        ("onnxruntime-float32", True),
    ]


def test_a_limit_that_cannot_be_met_is_a_finding_of_each_variant(project: Path) -> None:
    (finding,) = check(load_recipe(recipe(project, "limit.flash = 100\n"))).variants[0].findings
    assert finding.kind == "limit"
    assert "100" in finding.reason
    assert finding.remedy


def test_missing_calibration_data_stands_against_those_that_need_it(project: Path) -> None:
    toml = project / "models" / "tiny" / "model.toml"
    toml.write_text(toml.read_text().replace('calibration = "calibration.npz"\n', ""))
    found = check(load_recipe(recipe(project, 'precision = ["float32", "int8"]\n'))).variants
    assert [c.ok for c in found] == [True, False]
    assert (
        str(found[1].missing) == 'it needs calibration data\n  add calibration = "calibration.npz" to [data]'
    )


def test_a_missing_package_is_said_with_the_command_that_brings_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's own answer is replaced: which packages are absent differs from one to the next."""
    absent = Availability(False, False, "onnxruntime", "pip install onnxruntime")
    monkeypatch.setattr(find("onnxruntime"), "available", lambda: absent, raising=False)
    (found,) = check(load_recipe(recipe(project, ""))).variants
    assert not found.ok
    assert str(found.missing) == "onnxruntime\n  pip install onnxruntime"


def test_a_recipes_own_code_is_never_run(project: Path) -> None:
    tiny = project / "models" / "tiny"
    (tiny / "train.py").write_text(f"open({str(project / 'ran')!r}, 'w')\n")
    toml = tiny / "model.toml"
    toml.write_text(toml.read_text().replace("tiny.onnx", "train.py:export"))
    with pytest.raises(SprueError, match="check never runs a recipe's own code") as caught:
        check(load_recipe(recipe(project, "")))
    assert caught.value.where == f"{toml}:1"
    assert not (project / "ran").exists()


def test_checking_compiles_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(type(find("onnxruntime")), "compile", refuse)
    assert all(c.ok for c in checking.check(load_recipe(recipe(project, ""))).variants)
    assert sorted(p.name for p in project.iterdir()) == ["models", "recipes"]
