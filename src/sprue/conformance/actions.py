"""The cases as cached actions, in worker processes: a runtime that crashes or hangs ends one case only.

making them (ten seconds, once for each onnx) -> cases.json, and a file for each case
one action a case and backend -> verdict.json
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprue.canonical import canonical, parse
from sprue.conformance.judge import target_of
from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.pool import Executor
from sprue.engine.run import Listener, Outcome, run
from sprue.errors import CheckError
from sprue.tools import backend_tools, code, packages

PREFIX = "conformance"


@dataclass(frozen=True)
class Listed:
    """A case by name, without its model: what tables and expectations need."""

    name: str
    test: str
    operator: str


@dataclass(frozen=True)
class Ran:
    """What became of a case. `crashed`: its process did not survive it, or took too long."""

    kind: str
    why: str


def listed(cache: Cache, pool: Executor, listen: Listener) -> list[Listed]:
    """Every case that the installed onnx package makes. Raises CheckError when it makes none."""
    made = _cases()
    outcome = run([made], cache, pool, listen)[made.name]
    if outcome.failure is not None:
        raise CheckError(f"the node tests of onnx cannot be made: {outcome.failure}")
    return [Listed(**row) for row in _json(cache, outcome, "cases.json")]


def ran(
    cases: Sequence[Listed], backend: str, cache: Cache, pool: Executor, listen: Listener, timeout: float
) -> dict[str, Ran]:
    """What becomes of each case in one backend, by name. `timeout` in seconds for each."""
    made = _cases()
    tools = {**made.tools, **backend_tools(backend, target_of(backend))}
    step = "sprue.conformance.actions:run_case"
    actions = {
        case.name: Action(
            f"{PREFIX}/{backend}/{case.name}",
            step,
            1,
            {"backend": backend},
            {"case": Output(made.name, f"{case.name}.npz")},
            tools,
            timeout=timeout,
        )
        for case in cases
    }
    outcomes = run([made, *actions.values()], cache, pool, listen)
    return {name: _ran(cache, outcomes[action.name]) for name, action in actions.items()}


def make_cases(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """Nothing -> cases.json and the cases, see `write_case`."""
    from sprue.conformance.cases import all_cases, node_tests, write_case

    rows = []
    for case in all_cases(node_tests()):
        rows.append({"name": case.name, "test": case.test, "operator": case.operator})
        write_case(case, out / f"{case.name}.npz")
    (out / "cases.json").write_bytes(canonical(rows))


def run_case(inputs: Mapping[str, Path], params: Mapping[str, Any], out: Path) -> None:
    """case -> verdict.json."""
    from sprue.conformance.cases import read_case
    from sprue.conformance.judge import judge

    kind, why = judge(params["backend"], read_case(inputs["case"]))
    (out / "verdict.json").write_bytes(canonical({"kind": kind, "why": " ".join(why.split())}))


def _cases() -> Action:
    ours = code(Path(__file__).parent)
    tools = {**packages("onnx", "numpy"), "python": platform.python_version(), "code": ours}
    return Action(f"{PREFIX}/cases", "sprue.conformance.actions:make_cases", 1, tools=tools)


def _ran(cache: Cache, outcome: Outcome) -> Ran:
    if outcome.failure is not None:
        return Ran("wrong", outcome.failure.what)
    return Ran(**_json(cache, outcome, "verdict.json"))


def _json(cache: Cache, outcome: Outcome, name: str) -> Any:
    assert outcome.entry is not None
    return parse(cache.read(outcome.entry.files[name]))
