"""The backend contract, held by a backend that is not sprue's own; and how backends are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sprue.backend import Finding, Variant, find, homes, names
from sprue.errors import SprueError
from sprue.target import load_target
from sprue.targets import FOLDER

HERE = Path(__file__).parent


def test_backends_are_found_by_the_names_of_their_files() -> None:
    assert set(names()) >= {"onnxruntime", "openvino", "tensorrt", "tflite"}
    assert list(names()) == sorted(names())
    assert not any(name.startswith("_") for name in names())
    assert set(homes().values()) == {FOLDER}


def test_an_unknown_backend_is_answered_with_the_nearest() -> None:
    with pytest.raises(SprueError, match="there is no backend 'onnx-runtime'") as caught:
        find("onnx-runtime")
    assert caught.value.remedy.startswith("did you mean 'onnxruntime'? allowed: ")


def test_a_private_module_is_no_backend() -> None:
    with pytest.raises(SprueError, match="there is no backend '_findings'"):
        find("_findings")


def test_a_variant_is_called_after_backend_and_precision() -> None:
    assert Variant(load_target("server-cpu"), "onnxruntime", "int8-static").id == "onnxruntime-int8-static"


def test_a_finding_names_its_node_if_it_has_one() -> None:
    assert str(Finding("operator", "n1", "Swirl", "unknown", "x")) == "node 'n1' (Swirl): unknown"
    assert str(Finding("limit", "", "", "too large", "x")) == "too large"


@pytest.mark.slow
def test_the_contract_suite_runs_on_a_backend_of_ones_own() -> None:
    """As docs/own-targets.md promises: the null backend passes what every shipped one has to pass."""
    suite = [str(HERE / "targets" / "test_contract.py"), "-q", "-k", "null", "-p", "no:cacheprovider"]
    environment = {**os.environ, "SPRUE_TARGETS": str(HERE / "backends")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *suite],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
