"""ONNX's own node tests through the generated C, on this machine, under the sanitizers: zero wrong answers.

What `lowered` refuses is refused; what it accepts must compile without a warning, run without undefined
behaviour and give the expected result. Each test is tried as it is, and with all inputs but the first as
constants, which is how most of these operators occur in models.
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from sprue.targets.c.check import lowered
from sprue.targets.c.emit import emit

from .host import PLAIN, SANITIZERS, build
from .models import Array

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
LEAST = 1338
"""Accepted with onnx 1.23, both ways counted. More is better; fewer is a step back."""


@dataclass(frozen=True)
class Case:
    name: str
    model: ModelProto
    feeds: dict[str, Array]
    wanted: dict[str, Array]
    rtol: float
    atol: float


def cases() -> list[Case]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases overflow and divide by zero on purpose
        tests = collect_testcases(None)
    found: list[Case] = []
    for test in tests:
        if test.model is None or test.data_sets is None:
            continue
        inputs, outputs = test.data_sets[0]
        graph = test.model.graph
        plain = all(
            isinstance(a, np.ndarray | np.generic) and a.dtype.kind in "fiub" for a in (*inputs, *outputs)
        )
        if not plain or len(graph.input) != len(inputs):
            continue
        feeds = {v.name: np.asarray(a) for v, a in zip(graph.input, inputs, strict=True)}
        wanted = {v.name: np.asarray(a) for v, a in zip(graph.output, outputs, strict=True)}
        found.append(Case(test.name, test.model, feeds, wanted, test.rtol, test.atol))
        if len(feeds) > 1:
            found.append(_with_constants(found[-1]))
    return found


def _with_constants(case: Case) -> Case:
    model = ModelProto()
    model.CopyFrom(case.model)
    first, *others = case.feeds
    model.graph.initializer.extend(numpy_helper.from_array(case.feeds[n], n) for n in others)
    del model.graph.input[1:]
    return Case(
        f"{case.name}, constants", model, {first: case.feeds[first]}, case.wanted, case.rtol, case.atol
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_node_test_that_is_accepted_gives_a_wrong_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    every = cases()
    accepted = [(case, program) for case in every if (program := lowered(case.model)[0]) is not None]
    sources = [emit(program, f"m{i}") for i, (_, program) in enumerate(accepted)]
    host = build(tmp_path_factory.mktemp("nodes"), sources, (*PLAIN, *SANITIZERS))
    wrong = []
    for index, (case, _) in enumerate(accepted):
        try:
            got = host.run(index, case.feeds)
            for name, wanted in case.wanted.items():
                assert got[name].dtype == wanted.dtype
                np.testing.assert_allclose(got[name], wanted, rtol=case.rtol, atol=case.atol)
        except (AssertionError, RuntimeError) as error:
            wrong.append(f"{case.name}: {_first(error)}")
    print(f"{len(accepted)} of {len(every)} accepted, {len(wrong)} wrong")
    assert wrong == []
    assert len(accepted) >= LEAST


def _first(error: Any) -> str:
    return " ".join(str(error).split())[:300]
