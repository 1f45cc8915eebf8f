"""The smallest graph of each mistake that random graphs have found, through both lowerings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sprue.passes.simplify import Simplify

from . import lowerings
from .graphs import Case
from .growing import Arrays, outputs
from .worker import FLAGS

X = np.random.default_rng(5).standard_normal((1, 2, 6, 5)).astype(np.float32)
OUTSIDE = "with ceil_mode its last window lies outside of the input, which runtimes count differently"


def node(op: str, inputs: str, made: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), made.split(), f"{op}_{made.split()[0]}", **attributes)


def case(nodes: Sequence[NodeProto], opset: int, feeds: Arrays, constants: Arrays | None = None) -> Case:
    """The outputs are what no node reads."""
    read = {i for n in nodes for i in n.input}
    graph = helper.make_graph(
        list(nodes),
        "found",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(o) for n in nodes for o in n.output if o not in read],
        [numpy_helper.from_array(a, n) for n, a in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    made = outputs(model, feeds)
    for value in model.graph.output:
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(made[value.name].dtype)
    return Case(model, feeds, made)


def with_output(found: Case, name: str) -> Case:
    found.model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return Case(found.model, found.feeds, outputs(found.model, found.feeds))


def pooled(op: str, opset: int, **attributes: Any) -> Case:
    return case([node(op, "x", "y", **attributes)], opset, {"x": X})


def a_node_named_as_one_without_name() -> Case:
    """C put the integer kernel of one in the place of the other."""
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        helper.make_node("Mul", ["d", "d"], ["y"], "Mul_3"),
        helper.make_node("Mul", ["x", "x"], ["z"]),
    ]
    return case(nodes, 17, {"x": X}, {"scale": np.array(0.03, np.float32), "zero": np.array(3, np.int8)})


def pairs_with_two_zero_points() -> Case:
    """onnxruntime's basic level makes one pair of the two, and loses where each saturates."""
    nodes = [
        node("QuantizeLinear", "x s a", "q"),
        node("DequantizeLinear", "q s a", "d"),
        node("QuantizeLinear", "d s b", "r"),
        node("DequantizeLinear", "r s b", "e"),
        node("Mul", "e e", "m"),
        node("QuantizeLinear", "m t a", "u"),
        node("DequantizeLinear", "u t a", "y"),
    ]
    held: Arrays = {
        "s": np.asarray(0.01, np.float32),
        "t": np.asarray(0.02, np.float32),
        "a": np.asarray(-9, np.int8),
        "b": np.asarray(0, np.int8),
    }
    return case(nodes, 15, {"x": X}, held)


def float_bias_between_pairs() -> Case:
    """onnxruntime's basic level rounds the bias to steps of the scales' product."""
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w t z", "v"),
        node("Conv", "d v b", "c"),
        node("Relu", "c", "r"),
        node("QuantizeLinear", "r s z", "k"),
        node("DequantizeLinear", "k s z", "y"),
    ]
    held: Arrays = {
        "s": np.asarray(np.float32(0.05)),
        "z": np.asarray(np.int8(0)),
        "b": np.full(1, 0.0012, np.float32),
    }
    held |= {"t": np.asarray(np.float32(0.01)), "w": np.full((1, 2, 1, 1), 3, np.int8)}
    return with_output(case(nodes, 17, {"x": X}, held), "c")


def reduction_of_a_shape() -> Case:
    nodes = [
        node("Shape", "x", "s"),
        node("ReduceLogSumExp", "s", "r", keepdims=0),
        node("Cast", "r", "f", to=1),
        node("Add", "x f", "y"),
    ]
    return case(nodes, 16, {"x": X})


def withdrawn_group_normalization() -> Case:
    held = {"a": np.ones(2, np.float32), "b": np.zeros(2, np.float32)}
    return case([node("GroupNormalization", "x a b", "y", num_groups=2)], 18, {"x": X}, held)


def dilated_average() -> Case:
    """As large as its input, as TFLite's padding SAME makes it; but that knows no dilations."""
    return pooled("AveragePool", 19, kernel_shape=[2, 1], dilations=[2, 1], pads=[1, 0, 1, 0])


def empty_last_window(op: str) -> Case:
    """Counted by ONNX's shape inference before opset 22, and not by onnxruntime."""
    return pooled(op, 15, kernel_shape=[1, 1], strides=[1, 3], ceil_mode=1)


def windows_short_of_their_strides() -> Case:
    """onnxruntime crops by the padding that is negative then; in older operator sets it refuses."""
    return pooled("AveragePool", 24, kernel_shape=[1, 1], strides=[4, 1], auto_pad="SAME_UPPER")


def parts_of_booleans() -> Case:
    return case([node("Split", "x n", "a b", axis=1)], 13, {"x": X[:, 0] > 0}, {"n": np.array([1, 5])})


def quantized_after_an_output() -> Case:
    """onnxruntime's basic level puts a pair before the Transpose, and so before the output `m`."""
    nodes = [
        node("Min", "x x", "m"),
        node("Transpose", "m", "t", perm=[1, 0]),
        node("QuantizeLinear", "t s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("MatMul", "d w", "p"),
        node("QuantizeLinear", "p s z", "r"),
        node("DequantizeLinear", "r s z", "y"),
    ]
    held: Arrays = {"s": np.asarray(np.float32(0.05)), "z": np.asarray(np.uint8(128))}
    found = case(nodes, 22, {"x": X[0, 0, :1]}, {**held, "w": np.ones((1, 2), np.float32)})
    return with_output(found, "m")


def norm_of_a_shape_that_is_not_known() -> Case:
    held = {"g": np.ones((6, 2), np.float32)}
    pool = node("MaxPool", "x", "p", kernel_shape=[1, 1], strides=[1, 3], ceil_mode=1)
    return case([pool, node("LayerNormalization", "p g", "y", axis=-2)], 17, {"x": X}, held)


def exponentials_beyond_float32() -> Case:
    nodes = [node("Mul", "x s", "m"), node("ReduceLogSumExp", "m a", "y", keepdims=0)]
    held: Arrays = {"s": np.asarray(200, np.float32), "a": np.array([1, -1])}
    return case(nodes, 18, {"x": X}, held)


def local_response_of_a_constant() -> Case:
    """Which ONNX's reference implementation, that folds constants, gets wrong."""
    nodes = [node("LRN", "w", "n", size=3, alpha=0.1), node("Add", "x n", "y")]
    return case(nodes, 17, {"x": X}, {"w": np.linspace(-3, 3, 60, dtype=np.float32).reshape(X.shape)})


def cubic_beyond_the_border() -> Case:
    """onnxruntime and torch clamp each neighbour; ONNX's reference implementation the place itself."""
    at = np.array([[-0.9, 1.2], [0.3, -1.4], [1.1, 0.2], [0, 0]], np.float32).reshape(1, 4, 1, 2)
    return case(
        [node("GridSample", "x at", "y", mode="cubic", padding_mode="border")], 20, {"x": X}, {"at": at}
    )


def enlarged(op: str, opset: int) -> Case:
    """Before operator set 11: the scales are an attribute, or the second input."""
    if opset < 9:
        return case([node(op, "x", "y", scales=[1.0, 1.0, 2.0, 3.0])], opset, {"x": X})
    return case([node(op, "x s", "y")], opset, {"x": X}, {"s": np.array([1, 1, 2, 3], np.float32)})


def a_branch_of_constants(op: str, opset: int, shape: Sequence[int], **attributes: Any) -> Case:
    """What ONNX's reference implementation, that folds constants, gets wrong of them."""
    held = {"w": np.random.default_rng(2).standard_normal(shape).astype(np.float32)}
    held |= {"k": np.random.default_rng(3).standard_normal((2, 1, 2, 2)).astype(np.float32)}
    inputs = "w k" if op == "ConvTranspose" else "w"
    nodes = [node(op, inputs, "n", **attributes), node("ReduceSum", "n", "r", keepdims=0)]
    if op != "ConvTranspose":
        nodes[1] = node("Slice", "n", "r", starts=[0] * len(shape), ends=[1] * len(shape))
    return case([*nodes, node("Add", "x r", "y")], opset, {"x": X}, held)


def joined(op: str, dtype: str) -> Case:
    """TFLite's kernels of them know fewer types than tensors have."""
    x = np.arange(6, dtype=dtype).reshape(1, 6)
    if op == "Concat":
        return case([node(op, "x x", "y", axis=1)], 17, {"x": x})
    return case([node(op, "x p", "y", mode="edge")], 17, {"x": x}, {"p": np.array([0, 1, 0, 2])})


def cast_to_truth(dtype: str) -> Case:
    """TFLite's NOT_EQUAL compares half of the elements, or ends the process."""
    x = np.arange(6).astype(dtype).reshape(1, 6)
    return case([node("Cast", "x", "y", to=TensorProto.BOOL)], 17, {"x": x})


def one_pixel_of_three() -> Case:
    """ONNX's reference implementation asks whether scale times size is 1, of a scale that is rounded."""
    kept: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    made = helper.make_node("Resize", ["x", "", "", "s"], ["y"], "Resize_y", **kept)
    return case([made], 17, {"x": X}, {"s": np.array([1, 2, 1, 1])})


def logarithm_of_a_newer_set() -> Case:
    """Which onnxruntime lacks, and writes out in float64 where it folds constants."""
    return case([node("ReduceLogSumExp", "x a", "y")], 28, {"x": X}, {"a": np.array([-1])})


def reversed_in_an_older_set() -> Case:
    """Written out with GatherElements, which that operator set does not have."""
    nodes = [node("ReverseSequence", "x n", "y", time_axis=1, batch_axis=0)]
    return case(nodes, 10, {"x": X}, {"n": np.array([2])})


def limited_at_zero_to_8_bits() -> Case:
    """Its codes begin at the zero point, and are int8 all the same: C took them for uint8, with a warning."""
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w s z", "v"),
        node("MatMul", "d v", "m"),
        node("Relu", "m", "r"),
        node("QuantizeLinear", "r t z", "k"),
        node("DequantizeLinear", "k t z", "y"),
    ]
    held: Arrays = {"s": np.asarray(0.05, np.float32), "t": np.asarray(0.02, np.float32)}
    held |= {"z": np.asarray(0, np.int8), "w": np.arange(-9, 11, dtype=np.int8).reshape(5, 4)}
    return case(nodes, 17, {"x": X[0, 0, :1]}, held)


def nothing_infinite() -> Case:
    return case([node("IsInf", "x", "y", detect_negative=0, detect_positive=0)], 17, {"x": X})


FOUND: dict[str, tuple[Callable[[], Case], str]] = {
    "a node named as one without name": (a_node_named_as_one_without_name, ""),
    "QDQ pairs with two zero points": (pairs_with_two_zero_points, ""),
    "a dilated average": (dilated_average, ""),
    "a maximum with an empty last window": (partial(empty_last_window, "MaxPool"), OUTSIDE),
    "a mean with an empty last window": (partial(empty_last_window, "AveragePool"), OUTSIDE),
    "windows short of their strides": (
        windows_short_of_their_strides,
        "with auto_pad its windows leave out a part of the input, and runtimes differ in which",
    ),
    "parts of booleans": (parts_of_booleans, ""),
    "a pair behind an output": (quantized_after_an_output, ""),
    "a norm behind what is refused": (norm_of_a_shape_that_is_not_known, OUTSIDE),
    "exponentials beyond float32": (exponentials_beyond_float32, ""),
    "a local response of a constant": (local_response_of_a_constant, ""),
    "a withdrawn operator": (withdrawn_group_normalization, ""),
    "a cubic beyond the border": (cubic_beyond_the_border, ""),
    "an Upsample with an attribute": (partial(enlarged, "Upsample", 7), ""),
    "a Resize with two inputs": (partial(enlarged, "Resize", 10), ""),
    "groups of a constant": (partial(a_branch_of_constants, "ConvTranspose", 12, (1, 2, 3, 3), group=2), ""),
    "a Softmax over all axes behind": (partial(a_branch_of_constants, "Softmax", 9, (1, 2, 3)), ""),
    "a 16-bit Concat": (partial(joined, "Concat", "uint16"), ""),
    "an edge of 32 bits": (partial(joined, "Pad", "uint32"), ""),
    "truth of 8 bits": (partial(cast_to_truth, "int8"), ""),
    "truth of 16 bits": (partial(cast_to_truth, "int16"), ""),
    "one pixel of many": (one_pixel_of_three, ""),
    "8 bits from zero on": (limited_at_zero_to_8_bits, ""),
    "a logarithm of a newer set": (logarithm_of_a_newer_set, ""),
}


@pytest.mark.parametrize("name", FOUND)
def test_tflite_is_right_or_says_why_not(name: str) -> None:
    if not lowerings.litert_is_there():
        pytest.skip("needs the extra sprue[mobile]")
    make, why = FOUND[name]
    found = make()
    for outcome in (lowerings.tflite(found), lowerings.tflite_built(found)):
        assert outcome.kind == ("refused" if why else "right"), outcome
        assert why in outcome.why


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
def test_c_is_right_or_says_why_not(tmp_path: Path) -> None:
    made = lowerings.c([make() for make, _ in FOUND.values()], tmp_path, FLAGS, lanes=1)
    for (name, (_, why)), outcome in zip(FOUND.items(), made, strict=True):
        assert outcome.kind in (("refused",) if why else ("right", "refused")), (name, outcome)
        assert why in outcome.why


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (reversed_in_an_older_set, "ReverseSequence: the operator ReverseSequence has no C kernel"),
        (nothing_infinite, "IsInf: IsInf that detects nothing"),
    ],
)
def test_c_names_the_node_that_it_refuses(made: Callable[[], Case], why: str) -> None:
    assert lowerings.c_source(made().model, "m", lanes=1) == lowerings.Outcome("refused", why)


def test_a_reduction_of_a_shape_is_refused() -> None:
    """ONNX's reference implementation makes float32 of it, so it is not folded: then there was no tensor."""
    if not lowerings.litert_is_there():
        pytest.skip("needs the extra sprue[mobile]")
    refused = lowerings.Outcome("refused", "ReduceLogSumExp: ReduceLogSumExp of int64")
    assert lowerings.tflite(reduction_of_a_shape()) == refused


def test_simplify_leaves_a_float_bias_between_pairs_as_it_is() -> None:
    """An integer kernel rounds it all the same, the float model must not."""
    found = float_bias_between_pairs()
    simple: ModelProto = Simplify(batch=1).apply(found.model, {})
    np.testing.assert_array_equal(outputs(simple, found.feeds)["c"], found.wanted["c"])


def test_litert_takes_numpys_longlong_for_int64() -> None:
    """What onnxruntime gives on Linux is int64 by that name, which LiteRT calls NOTYPE."""
    if not lowerings.litert_is_there():
        pytest.skip("needs the extra sprue[mobile]")
    x = np.arange(6, dtype=np.longlong).reshape(1, 6)
    assert lowerings.tflite(case([node("Neg", "x", "y")], 17, {"x": x})).kind == "right"
