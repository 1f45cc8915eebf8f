"""`sprue conformance`, on backends that are right, wrong, crash and hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BACKENDS = Path(__file__).resolve().parents[1] / "backends"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: making the cases takes ten seconds."""
    return tmp_path_factory.mktemp("cache")


def conformance(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sprue", "conformance", "--cache", str(cache), *arguments]
    environment = {**os.environ, "SPRUE_TARGETS": str(BACKENDS)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def judged(cache: Path, backend: str) -> tuple[int, dict[str, Any]]:
    limit = ("--timeout", "5") if backend == "hangs" else ()
    done = conformance(cache, "-b", backend, "--operator", "Relu", "-j1", *limit, "--json")
    return done.returncode, json.loads(done.stdout)["backends"][backend]


@pytest.mark.slow
def test_a_wrong_answer_a_crash_and_a_hang_are_told_apart_and_fail(cache: Path) -> None:
    code, right = judged(cache, "null")
    assert (code, right["wrong"], right["matched"]) == (0, 0, 2)
    for backend, why in (("drifts", "is off by"), ("aborts", "SIGABRT"), ("hangs", "longer than 5 s")):
        code, said = judged(cache, backend)
        assert code == 1
        assert said["wrong"] == 2
        assert why in said["unexpected"][0]["why"]


@pytest.mark.slow
def test_what_was_updated_holds_and_an_edited_line_does_not(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "expected"
    options = ("-b", "null", "--expected", str(folder))
    table = tmp_path / "operators.md"
    update = (*options, "--update", "--table", str(table))
    assert conformance(cache, *update, "--operator", "Relu").returncode == 0
    assert "| Relu | 2 | 2 |" in table.read_text()
    assert conformance(cache, *options, "--operator", "Relu").returncode == 0
    file = folder / "null.txt"
    file.write_text(file.read_text() + "refused test_relu-fed\n")
    done = conformance(cache, *options, "--operator", "Relu")
    assert done.returncode == 1
    assert "null: test_relu-fed is matched, expected refused" in done.stdout


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    done = conformance(tmp_path, "--backend", "nul")
    assert done.returncode == 2
    assert "did you mean 'null'" in done.stderr


@pytest.mark.slow
def test_a_part_is_not_written_into_what_other_versions_made(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "null.txt"
    file.write_text("# made with: numpy 1.0\nrefused test_relu-fed\n")
    options = ("-b", "null", "--expected", str(tmp_path), "--operator", "Relu")
    done = conformance(cache, *options, "--update")
    assert done.returncode == 2
    assert "made with other versions" in done.stderr
    assert file.read_text() == "# made with: numpy 1.0\nrefused test_relu-fed\n"
