"""`check`: everything that cannot work, named, without compiling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from sprue.targets.c import BACKEND

from sprue.backend import Variant
from sprue.target import Precision, load_target

from .models import chain, single

X = np.zeros((1, 3, 8, 8), np.float32)


def variant(precision: Precision = "float32", **limits: int) -> Variant:
    return Variant(replace(load_target("cortex-m4"), **limits), "c", precision)  # type: ignore[arg-type]  # sizes


def test_every_unsupported_operator_is_named_with_node_reason_and_remedy() -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], "first"),
        helper.make_node("NonZero", ["x"], ["b"], "second"),
        helper.make_node("Identity", ["a"], ["y"], "third"),
    ]
    square = np.zeros((1, 5, 5), np.float32)
    model = chain([nodes[0], nodes[2]], {"x": square}, {}, "y", TensorProto.FLOAT)
    (found,) = BACKEND.check(model, variant())
    assert (found.kind, found.node, found.op) == ("operator", "first", "Det")
    assert found.reason
    assert found.remedy


def test_an_attribute_that_no_kernel_obeys_is_refused_not_ignored() -> None:
    model = single("LSTM", {"x": np.zeros((1, 1, 3), np.float32)},
                   {"w": np.zeros((1, 8, 3), np.float32), "r": np.zeros((1, 8, 2), np.float32)},
                   hidden_size=2, clip=1.5)  # fmt: skip
    (found,) = BACKEND.check(model, variant())
    assert "'clip'" in found.reason


def test_a_shape_that_depends_on_data_is_a_finding() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
        helper.make_node("Cast", ["most"], ["count"], "cast", to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["count", "zero"], ["end"], "end"),
        helper.make_node("Slice", ["x", "zero", "end", "zero"], ["y"], "cut"),
    ]
    zero = {"zero": np.zeros(1, np.int64)}
    found = BACKEND.check(chain(nodes, {"x": X}, zero, "y", TensorProto.FLOAT), variant())
    assert [(f.kind, f.node, f.op) for f in found] == [("shape", "cut", "Slice")]


def test_an_operator_without_a_kernel_is_told_before_its_shape_that_is_not_known() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"], "where"),
        helper.make_node("Cast", ["where"], ["y"], "cast", to=TensorProto.FLOAT),
    ]
    found = BACKEND.check(chain(nodes, {"x": X}, {}, "y", TensorProto.FLOAT), variant())
    assert [(f.kind, f.node, f.op) for f in found] == [("operator", "where", "NonZero")]


def test_a_second_symbolic_axis_is_a_finding() -> None:
    model = single("Relu", {"x": X})
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    (found,) = BACKEND.check(model, variant())
    assert found.kind == "shape"
    assert "height" in found.reason


@pytest.mark.parametrize("precision", ["float16", "int8-dynamic"])
def test_a_precision_that_is_not_offered_is_a_finding(precision: Precision) -> None:
    (found,) = BACKEND.check(single("Relu", {"x": X}), variant(precision))
    assert found.kind == "precision"
    assert "int8-static" in found.remedy


def test_an_opset_from_the_future_is_a_finding() -> None:
    model = single("Relu", {"x": X})
    model.opset_import[0].version = 999
    found = BACKEND.check(model, variant())
    assert found
    assert "999" in " ".join(f.reason for f in found)


def network() -> ModelProto:
    """3x8x8 -> 16x8x8 -> 4: 16 KiB in flight would be too much, 3 KiB of weights."""
    rng = np.random.default_rng(0)
    weights: dict[str, Any] = {
        "w": rng.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "m": rng.standard_normal((1024, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["c"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "m"], ["y"], "gemm"),
    ]
    return chain(nodes, {"x": X}, weights, "y", TensorProto.FLOAT)


def test_a_model_that_fits_has_no_findings() -> None:
    assert BACKEND.check(network(), variant()) == []


def test_ram_and_flash_beyond_the_limits_are_findings_with_the_bytes() -> None:
    found = BACKEND.check(network(), variant(limit_ram=2000, limit_flash=3000))
    assert [f.kind for f in found] == ["limit", "limit"]
    assert f"{768 + 4096 + 2 * 27 * 4} bytes of RAM" in found[0].reason, (
        "input, result and two scratch columns"
    )
    assert "limit.flash" in found[1].remedy


def test_for_int8_a_limit_is_a_lower_bound_of_one_byte_per_element() -> None:
    assert BACKEND.check(network(), variant("int8-static", limit_ram=2500, limit_flash=6000)) == []
    found = BACKEND.check(network(), variant("int8-static", limit_flash=4000))
    assert [f.kind for f in found] == ["limit"]
    assert "at least" in found[0].reason
