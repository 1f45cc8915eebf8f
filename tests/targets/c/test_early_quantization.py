"""QuantizeLinear before what only moves its elements: less is moved, and less lies in the arena."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from sprue.targets.c.check import lowered

from .host import build
from .models import Array, chain, reference, source

X = np.random.default_rng(5).standard_normal((1, 9, 7, 3)).astype(np.float32)
CONSTANTS: dict[str, Array] = {
    "s": np.array(0.03, np.float32), "z": np.array(-5, np.int8), "shape": np.array([1, 3, 63], np.int64),
}  # fmt: skip


def model(output: str, *more: object) -> ModelProto:
    """x [1, 9, 7, 3] -> Transpose -> Reshape -> QuantizeLinear, and `more` nodes."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["turned", "shape"], ["flat"], "reshape"),
        helper.make_node("QuantizeLinear", ["flat", "s", "z"], ["y0"], "quantize"),
        *more,
    ]
    kind = TensorProto.INT8 if output == "y0" else TensorProto.FLOAT
    return chain(nodes, {"x": X}, CONSTANTS, output, kind)


def kernels(made: ModelProto) -> list[str]:
    program, findings = lowered(made)
    assert program is not None, findings
    return [f"{c.node.op} {program.values[c.node.outputs[0]].dtype}" for c in program.calls]


def test_the_input_is_quantized_in_place_and_moved_as_bytes() -> None:
    assert kernels(model("y0")) == ["QuantizeLinear int8", "Transpose int8"]
    program, _ = lowered(model("y0"))
    assert program is not None
    assert program.plan.bytes < X.nbytes + 2 * X.size, "the float input and one int8 tensor"


def test_what_something_else_reads_stays_in_float() -> None:
    both = helper.make_node("DequantizeLinear", ["y0", "s", "z"], ["real"], "dequantize")
    sum_ = helper.make_node("Add", ["flat", "real"], ["sum"], "add")
    assert kernels(model("sum", both, sum_))[0] == "Transpose float32"


def test_integers_that_were_dequantized_to_be_moved_are_moved_as_integers() -> None:
    """They keep their scale, so that nothing at all is computed."""
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["real"], "dequantize"),
        helper.make_node("Reshape", ["real", "flat"], ["moved"], "move"),
        helper.make_node("QuantizeLinear", ["moved", "s", "z"], ["y0"], "quantize"),
    ]
    constants = {**CONSTANTS, "flat": np.array([1, -1])}
    made = chain(nodes, {"x": X.astype(np.int8)}, constants, "y0", TensorProto.INT8)
    assert kernels(made) == []


def test_scales_per_channel_stay_where_the_channels_are() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("QuantizeLinear", ["turned", "s", "z"], ["y0"], "quantize", axis=1),
    ]
    constants: dict[str, Array] = {"s": np.full(3, 0.03, np.float32), "z": np.zeros(3, np.int8)}
    made = chain(nodes, {"x": X}, constants, "y0", TensorProto.INT8)
    assert kernels(made) == ["Transpose float32", "QuantizeLinear int8"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
def test_every_element_equals_onnxruntimes(tmp_path: Path) -> None:
    made = model("y0")
    got = build(tmp_path, [source(made, "m0")]).run(0, {"x": X})["y0"]
    np.testing.assert_array_equal(got, reference(made, {"x": X})["y0"], strict=True)
