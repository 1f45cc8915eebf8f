"""Random graphs: accepted ones give what onnxruntime gives."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, note, settings
from onnx import ModelProto

from .build import Arrays, lowered_runner, reference
from .graphs import graphs

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
EXAMPLES = int(os.environ.get("SPRUE_FUZZ_EXAMPLES", "150"))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_a_random_graph_gives_what_onnxruntime_gives(case: tuple[ModelProto, Arrays]) -> None:
    source, samples = case
    note(onnx.printer.to_text(source))
    expected = reference(source, samples)
    actual = lowered_runner(source).run(samples)
    assert list(actual) == list(expected)
    for name, wanted in expected.items():
        assert actual[name].shape == wanted.shape
        # float32 sums in another order: relative to the largest value, and Erf through GELU near 0
        limit = 2e-5 * max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(actual[name], wanted, rtol=1e-4, atol=limit)
