"""The ONNX backend node tests: whatever the lowering accepts must come out right."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
FEWEST = 1310
"""Tests that pass with onnx 1.23; raise it with every operator, never lower it."""


def outcomes() -> list[tuple[str, str, str]]:
    """(outcome, reason, test) of every node test; a crash of the process is an outcome, too."""
    found: list[tuple[str, str, str]] = []
    while True:
        worker = [sys.executable, str(Path(__file__).with_name("node_worker.py")), str(len(found))]
        done = subprocess.run(worker, capture_output=True, text=True, timeout=250, check=False)
        for line in done.stdout.splitlines():
            parts = line.split(" ", 1)[1].split("\t") if " " in line else []
            found.append((parts[0], parts[1], parts[2]) if len(parts) == 3 else ("crash", line, line))
        if done.returncode == 0:
            return found
        assert done.stdout, done.stderr[-2000:]


@pytest.mark.slow
def test_no_node_test_that_is_accepted_gives_a_wrong_answer(capsys: pytest.CaptureFixture[str]) -> None:
    found = outcomes()
    counts = Counter(o for o, _, _ in found)
    ours = len(found) - counts["other"]
    with capsys.disabled():
        both = counts["pass"] + counts["frozen"]
        print(f"\ntflite node tests: {dict(counts)}; of the {ours} of its types")
        print(f"{counts['pass'] / ours:.1%} pass, {both / ours:.1%} with axes and sizes as constants")
    assert [f for f in found if f[0] in ("wrong", "crash", "error")] == []
    assert counts["pass"] >= FEWEST
