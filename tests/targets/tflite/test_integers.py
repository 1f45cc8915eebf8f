"""Integer operators with constant weights, as quantizers write them: every element as onnxruntime has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .build import Arrays, lowered_runner, operations, reference

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
RNG = np.random.default_rng(5)
FULL = 127


def single(op: str, x: np.ndarray, constants: dict[str, Any], out: int, **given: Any) -> ModelProto:
    names = ["x", *constants]
    fed = [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)]
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    made = [helper.make_tensor_value_info("y", out, None)]
    graph = helper.make_graph([helper.make_node(op, names, ["y"], "n", **given)], "g", fed, made, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def codes(low: int, high: int, *shape: int, dtype: str = "uint8") -> np.ndarray:
    return RNG.integers(low, high, shape, endpoint=True).astype(dtype)


def product(depth: int, largest: int) -> tuple[ModelProto, Arrays]:
    """[2,5,depth] x [depth,7], a scale for each column."""
    x, w = codes(0, 255, 2, 5, depth), codes(-largest, largest, depth, 7, dtype="int8")
    y = 0.02 * 0.01 * largest * np.sqrt(depth)
    constants = {"xs": np.float32(0.02), "xz": np.uint8(130), "w": w}
    constants |= {"ws": RNG.uniform(0.01, 0.02, 7).astype(np.float32), "wz": np.zeros(7, np.int8)}
    constants |= {"ys": np.float32(y), "yz": np.uint8(120)}
    return single("QLinearMatMul", x, constants, TensorProto.UINT8), {"x": x}


def sums(depth: int) -> tuple[ModelProto, Arrays]:
    x, w = codes(0, 255, 3, depth), codes(-FULL, FULL, depth, 4, dtype="int8")
    constants = {"w": w, "xz": np.uint8(99), "wz": codes(-5, 5, 4, dtype="int8")}
    return single("MatMulInteger", x, constants, TensorProto.INT32), {"x": x}


def convolution(channels: int, window: int, group: int = 1) -> tuple[ModelProto, Arrays]:
    """[1,channels,6,5] with 8 kernels, a scale for each, and an int32 bias."""
    x, shape = codes(0, 255, 1, channels, 6, 5), (8, channels // group, window, window)
    w = codes(-FULL, FULL, *shape, dtype="int8")
    y = 0.02 * 0.01 * FULL * np.sqrt(np.prod(shape[1:]))
    constants = {"xs": np.float32(0.02), "xz": np.uint8(120), "w": w}
    constants |= {"ws": RNG.uniform(0.005, 0.02, 8).astype(np.float32), "wz": np.zeros(8, np.int8)}
    constants |= {"ys": np.float32(y), "yz": np.uint8(110), "b": codes(-20000, 20000, 8, dtype="int32")}
    pads = [window // 2] * 4
    return single("QLinearConv", x, constants, TensorProto.UINT8, group=group, pads=pads), {"x": x}


CASES = {
    "a product that weights keep exact": (product(768, 40), {"FULLY_CONNECTED": 1}),
    "a product in parts": (product(2000, FULL), {"FULLY_CONNECTED": 8}),
    "sums in parts": (sums(2000), {"FULLY_CONNECTED": 8}),
    "a convolution": (convolution(16, 3), {"CONV_2D": 1}),
    "a convolution in parts": (convolution(256, 3), {"CONV_2D": 10}),
    "a convolution of long groups, in float": (convolution(4096, 1, group=2), {"CONV_2D": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_element_is_onnxruntimes(name: str) -> None:
    (source, feeds), expected = CASES[name]
    wanted = reference(source, feeds)["y"]
    assert len(np.unique(wanted)) > 8, "the case is too tame to show anything"
    np.testing.assert_array_equal(lowered_runner(source).run(feeds)["y"], wanted)
    found = operations(source)
    assert {k: found[k] for k in expected} == expected
