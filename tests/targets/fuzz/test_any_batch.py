"""Random graphs whose .tflite file takes any number of samples: all at once give what onnxruntime gives."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import HealthCheck, event, given, note, settings

from sprue.errors import SprueError

from ..tflite.build import BACKEND, compiled, variant
from ..tflite.test_batch import at_once, batch_of
from . import lowerings
from .graphs import Case, cases

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(lowerings.known("tflite")))
def test_a_random_graph_that_takes_any_number_gives_what_onnxruntime_gives(
    tmp_path_factory: pytest.TempPathFactory, case: Case
) -> None:
    many = case.batched()
    if many is None:
        return
    note(onnx.printer.to_text(many.model))
    out = tmp_path_factory.mktemp("random")
    try:
        compiled(many.model, "float32", case.feeds, out)
    except SprueError:  # refused, as for one sample
        return
    event(batch_of(out))
    if batch_of(out) == "any":
        made = at_once(out / BACKEND.entry(variant("float32")), many.feeds)
        assert lowerings.differences({n: made[n] for n in many.wanted}, many.wanted) == ""
