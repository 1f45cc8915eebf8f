"""A phone's file on emulated aarch64: verified where a root for it is there, said plainly where it is not.

The root is what `targets/tflite/aarch64_root.sh` makes. Its variable here has another name than sprue's own,
so that not every test that verifies a .tflite file waits for the emulator.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest
from onnx import ModelProto, helper

from sprue.backend import Runner
from sprue.errors import CheckError, SprueError
from sprue.target import Precision

from .build import BACKEND, Arrays, compiled, model, weight

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
VARIABLE = "SPRUE_AARCH64_ROOT"
ROOT = os.environ.get("SPRUE_TEST_AARCH64_ROOT", "")
emulates = pytest.mark.skipif(
    not ROOT or shutil.which("qemu-aarch64-static") is None,
    reason="needs qemu-user-static, and SPRUE_TEST_AARCH64_ROOT: see targets/tflite/aarch64_root.sh",
)
pytestmark = pytest.mark.skipif(platform.machine() == "aarch64", reason="this machine needs no emulator")
SAMPLES: Arrays = {"x": weight(2, 6, 8)}


def network() -> ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
    return model(nodes, {"x": ["n", 8]}, ["y"], {"w": weight(1, 8, 64)})


def ran(out: Path, precision: Precision = "float32") -> Runner:
    runner = compiled(network(), precision, SAMPLES, out)
    runner.run(SAMPLES)
    return runner


def test_a_file_that_was_not_run_there_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert ran(tmp_path).profile().notes["aarch64"].startswith("not run on aarch64: SPRUE_AARCH64_ROOT")
    assert "emulated-aarch64" not in BACKEND.tools()


def test_a_root_without_a_python_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    runner = ran(out)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(SprueError, match="a folder without a Python") as caught:
        runner.profile()
    assert "aarch64_root.sh" in caught.value.remedy


@emulates
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8-dynamic"])
def test_the_first_samples_are_verified_there_and_the_runtime_is_named(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, ROOT)
    note = ran(tmp_path, precision).profile().notes["aarch64"]
    assert note.startswith("verified on emulated aarch64 by ai-edge-litert 1.")
    assert "4 samples, outputs within" in note
    assert BACKEND.tools()["emulated-aarch64"].startswith("ai_edge_litert-1.")


@emulates
@pytest.mark.slow
def test_other_answers_there_fail_the_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, ROOT)
    runner = ran(tmp_path)
    runner._first[0][1]["y"][0, 3] += 1e-3  # type: ignore[attr-defined]  # what this machine seems to say
    with pytest.raises(CheckError, match=r"on emulated aarch64 by .* its outputs differ by 1\.\de-03"):
        runner.profile()
