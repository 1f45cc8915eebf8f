"""Random graphs through both lowerings: what is accepted gives what onnxruntime gives, the rest says why not.

`python -m tests.targets.fuzz` runs any number of them; hypothesis finds the smallest graph that fails.
"""

from __future__ import annotations

import shutil
from collections import Counter

import onnx
import pytest
from hypothesis import HealthCheck, given, note, settings

from tests.thinning import thinned

from . import lowerings
from .__main__ import PORTION, portion
from .graphs import Case, cases

GRAPHS = 150
MOST_REFUSED = 0.2
"""Of the graphs: beyond it, there is little left that is tested."""

needs_litert = pytest.mark.skipif(not lowerings.litert_is_there(), reason="needs the extra sprue[mobile]")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "lowering",
    [
        pytest.param("c", marks=needs_gcc),
        pytest.param("c-host", marks=needs_gcc),
        pytest.param("tflite", marks=needs_litert),
    ],
)
def test_random_graphs_are_right_or_refused(lowering: str) -> None:
    starts = thinned(range(0, GRAPHS, PORTION), GRAPHS // PORTION)
    found = [f for at in starts for f in portion(lowering, range(at, at + PORTION))]
    assert [f"seed {s}: {o.kind}: {o.why}" for s, o in found if o.kind in ("wrong", "crash")] == []
    assert Counter(o.kind for _, o in found)["refused"] <= MOST_REFUSED * len(found)


@pytest.mark.slow
@needs_litert
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(lowerings.known("tflite") if lowerings.litert_is_there() else frozenset()))
def test_tflite_gives_what_onnxruntime_gives(case: Case) -> None:
    note(onnx.printer.to_text(case.model))
    outcome = lowerings.tflite(case)
    assert outcome.kind in ("right", "refused"), outcome.why
