"""Loops of known course become their steps; a branch becomes a choice where both ways give the same shape."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from sprue.passes.expand import Expand

KEPT = ("Add", "Concat", "Gather", "Identity", "Mul", "Neg", "Reshape", "Unsqueeze", "Where")
SCAN = """<ir_version: 9, opset_import: ["" : 18]>
scan (float[1,2] start, float[3,2] x) => (float[1,2] last, float[3,1,2] each) {
  last, each = Scan <num_scan_inputs = 1, body =
    step (float[1,2] sum, float[2] next) => (float[1,2] a, float[1,2] b)
    { a = Add(sum, next)  b = Mul(a, a) }> (start, x)
}"""
LOOP = """<ir_version: 9, opset_import: ["" : 18]>
repeat (float[1,2] x) => (float[1,2] y) <int64 count = {4}, bool go = {1}> {
  y = Loop <body = step (int64 i, bool on, float[1,2] a) => (bool still, float[1,2] b)
    { still = Identity(on)  b = Add(a, x) }> (count, go, x)
}"""
IF = """<ir_version: 9, opset_import: ["" : 18]>
choose (bool[1] which, float[1,2] x) => (float[1,2] y) {
  y = If <then_branch = yes () => (float[1,2] a) { a = Add(x, x) },
          else_branch = no () => (float[1,2] b) { b = Neg(x) }> (which)
}"""
UNLIKE = IF.replace("(float[1,2] b) { b = Neg(x) }", "(float[2] b) { b = Reshape(x, flat) }").replace(
    "=> (float[1,2] y) {", "=> (float[] y) <int64[1] flat = {-1}> {"
)


@pytest.mark.parametrize("text", [SCAN, LOOP, IF], ids=["scan", "loop", "if"])
def test_the_steps_compute_what_the_loop_computes(text: str) -> None:
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(2)
    unrolled = Expand(keep=KEPT).apply(model, {})
    assert {n.op_type for n in unrolled.graph.node} <= set(KEPT)
    for which in (True, False):
        feeds = {
            v.name: np.array([which])
            if v.name == "which"
            else rng.standard_normal([d.dim_value for d in v.type.tensor_type.shape.dim]).astype(np.float32)
            for v in model.graph.input
        }
        made, wanted = (
            ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
            for m in (unrolled, model)
        )
        for a, b in zip(made, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_branches_of_different_shapes_are_left_alone() -> None:
    model = onnx.parser.parse_model(UNLIKE)
    assert "If" in {n.op_type for n in Expand(keep=KEPT).apply(model, {}).graph.node}
