"""What is compared before one machine builds for another."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from sprue.environment import facts
from sprue.machine import processor

BACKENDS = Path(__file__).with_name("backends")


def ask(folder: Path) -> dict[str, str]:
    """The facts of a fresh process, which has the user's own backends in `folder`."""
    script = "import json; from sprue.environment import facts; print(json.dumps(facts()))"
    environment = {**os.environ, "SPRUE_TARGETS": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said: dict[str, str] = json.loads(done.stdout)
    return said


def test_the_facts_name_the_processor_python_and_tools() -> None:
    found = facts()
    assert found["processor"] == processor()
    assert platform.python_version() in found["python"]
    assert found["onnxruntime"] == version("onnxruntime")


@pytest.mark.slow
def test_the_facts_are_the_same_in_another_folder_and_differ_when_a_backend_is_edited(tmp_path: Path) -> None:
    one, other = (shutil.copytree(BACKENDS, tmp_path / n / "backends") for n in ("one", "other"))
    assert ask(one) == ask(other)
    with (other / "null.py").open("a") as stream:
        stream.write("# edited\n")
    before, after = ask(one), ask(other)
    assert [name for name in before if before[name] != after[name]] == ["targets"]
