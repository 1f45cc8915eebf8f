"""ONNX's own node tests, asked of every backend's float32: what `check` accepts must be right."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sprue.backend import Variant, find, names
from sprue.conformance.actions import Listed
from sprue.conformance.cases import adapted, all_cases, node_tests
from sprue.conformance.expected import expected_file, read_expected
from sprue.conformance.judge import judge, refusal, target_of
from sprue.conformance.table import table
from tests.thinning import every

EXPECTED = Path(__file__).with_name("expected")
DOCS = Path(__file__).resolve().parents[2] / "docs"
BOARDS = DOCS.with_name("targets")

SAMPLE = {
    "conv": "test_basic_conv_with_padding",
    "gemm": "test_gemm_default_vector_bias",
    "lstm": "test_lstm_defaults",
    "maxpool": "test_maxpool_2d_default",
    "softmax": "test_softmax_example",
}
"""The fast set: a module of ONNX's node tests, and one test of it."""

PARTS = 20
"""In how many parts the cases are run, one part at each commit; `check` is asked about each case of OURS."""
OURS = ("c", "tflite")
"""The lowerings that are sprue's own. Each accepted test of theirs is also run whole, without the command:
tests/targets/c/test_node_conformance.py on the host, tests/targets/tflite/test_nodes.py."""


def executing(name: str) -> str:
    state = find(name).available()
    if not (state.compiles and state.executes):
        pytest.skip(f"{name} lacks: {state.missing}; {state.install}")
    return name


def sampled_node_tests() -> list[Any]:
    from onnx.backend.test.case import node

    for family in SAMPLE:
        importlib.import_module(f"onnx.backend.test.case.node.{family}")
    made = {c.name: c for c in node._NodeTestCases}
    return [made[name] for name in SAMPLE.values()]


def test_of_boards_the_one_with_the_most_memory_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file says so; what states no limit is a host, and stands back."""
    board = (BOARDS / f"{target_of('c').id}.toml").read_text(encoding="utf-8")
    larger = re.sub(r'ram = ".*"', 'ram = "64 MiB"', board)
    (tmp_path / "larger.toml").write_text(larger, encoding="utf-8")
    (tmp_path / "unlimited.toml").write_text(board.split("[limit]")[0], encoding="utf-8")
    monkeypatch.setattr("sprue.targets.OWN", (tmp_path,))
    assert target_of("c").id == "larger"


@pytest.mark.parametrize("name", names())
def test_a_sample_of_what_check_accepts_is_right(name: str) -> None:
    executing(name)
    cases = [c for t in sampled_node_tests() for c in adapted(t, t.model.graph.node[0].op_type)]
    outcomes = {c.name: judge(name, c) for c in cases}
    assert {c: why for c, (kind, why) in outcomes.items() if kind == "wrong"} == {}
    assert "matched" in {kind for kind, _ in outcomes.values()}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_cases_come_out_as_committed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected pass fails like an unexpected failure. A crash of a runtime ends its own case only."""
    step, first = every(PARTS)
    command = ["conformance", "--every", str(step), "--first", str(first), "-j1", "--json"]
    command += ["--expected", str(EXPECTED), "--cache", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "sprue", *command], capture_output=True, text=True, check=False
    )
    said = json.loads(done.stdout)["backends"]
    with capsys.disabled():
        print(f"\none case in {step}, from {first}:")
        for name, found in said.items():
            print(f"{name}: {found['matched']} matched, {found['refused']} refused, {found['wrong']} wrong")
    assert {name: found["unexpected"] for name, found in said.items() if found["unexpected"]} == {}
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_check_refuses_just_the_cases_that_are_committed_as_refused() -> None:
    """And the table is what the files say."""
    cases = list(all_cases(node_tests()))
    for name in OURS:
        if not (find(name).available().compiles and find(name).available().executes):
            continue
        expected = read_expected(expected_file(EXPECTED, name))
        backend, variant = find(name), Variant(target_of(name), name, "float32")
        refused = {case.name for case in cases if refusal(backend, variant, case)}
        assert refused == {case for case, kind in expected.kinds.items() if kind == "refused"}
    known = {file.stem: read_expected(file) for file in EXPECTED.glob("*.txt")}
    listed = [Listed(case.name, case.test, case.operator) for case in cases]
    assert (DOCS / "operators.md").read_text(encoding="utf-8") == table(listed, known)
