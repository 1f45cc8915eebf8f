"""The ONNX backend node tests: whatever the lowering accepts must come out right."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
FEWEST = 1450
"""Tests that pass with onnx 1.23; raise it with every operator, never lower it."""


def outcomes() -> list[tuple[str, ...]]:
    """(outcome, reason, test, types) of every node test; a crash of the process is an outcome, too."""
    found: list[tuple[str, ...]] = []
    while True:
        worker = [sys.executable, str(Path(__file__).with_name("node_worker.py")), str(len(found))]
        done = subprocess.run(worker, capture_output=True, text=True, timeout=250, check=False)
        for line in done.stdout.splitlines():
            parts = line.split(" ", 1)[1].split("\t") if " " in line else []
            found.append(tuple(parts) if len(parts) == 4 else ("crash", line, line, "core"))
        if done.returncode == 0:
            return found
        assert done.stdout, done.stderr[-2000:]


@pytest.mark.slow
def test_no_node_test_that_is_accepted_gives_a_wrong_answer(capsys: pytest.CaptureFixture[str]) -> None:
    found = outcomes()
    counts = Counter(f[0] for f in found)
    with capsys.disabled():
        print(f"\ntflite node tests: {dict(counts)}")
        for kinds in (("core",), ("core", "wide")):
            ours = Counter(f[0] for f in found if f[3] in kinds and f[0] != "other")
            passed, both = ours["pass"], ours["pass"] + ours["frozen"]
            total, named = ours.total(), " and ".join(kinds)
            print(f"{named} types: {passed} of {total} pass, {passed / total:.1%}; ", end="")
            print(f"{both / total:.1%} with axes and sizes as constants")
    assert [f for f in found if f[0] in ("wrong", "crash", "error")] == []
    assert counts["pass"] >= FEWEST
