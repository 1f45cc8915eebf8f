"""Each operator once, beside weights, in both int8 precisions: it loads, and is near the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, helper

from sprue.target import Precision

from .build import Arrays, compiled, model, reference, weight, worst

pytest.importorskip("ai_edge_quantizer", reason="needs the extra sprue[mobile]")
node = helper.make_node
LIMIT = 0.06
"""8 bits for weights and activations, a few operations."""
Case = tuple[Sequence[NodeProto], tuple[int, ...], Arrays]
KERNEL = weight(2, 8, 4, 3, 3)


def behind_conv(*nodes: NodeProto, **weights: np.ndarray) -> Case:
    """x [batch,4,8,8] -> Conv -> c [batch,8,8,8] -> the nodes, which end in y."""
    return [node("Conv", ["x", "w"], ["c"], pads=[1] * 4), *nodes], (4, 8, 8), {"w": KERNEL, **weights}


def behind_matmul(*nodes: NodeProto, **weights: np.ndarray) -> Case:
    """x [batch,6,16] -> MatMul -> c [batch,6,32] -> the nodes, which end in y."""
    return [node("MatMul", ["x", "w"], ["c"]), *nodes], (6, 16), {"w": weight(1, 16, 32), **weights}


def product(first: str, second: str, constant: np.ndarray, shape: tuple[int, ...]) -> Case:
    return [node("MatMul", [first, second], ["c"]), node("Relu", ["c"], ["y"])], shape, {"a": constant}


ONES = np.ones(32, np.float32)
FRAME = np.array([0, 0, 1, 1, 0, 0, 1, 1])
UNARY = ["Relu", "Sigmoid", "Tanh", "HardSwish", "Elu", "LeakyRelu", "Abs", "Softplus", "Softmax", "Gelu"]
CASES: dict[str, Case] = {
    **{op: behind_matmul(node(op, ["c"], ["y"])) for op in UNARY},
    "group": ([node("Conv", ["x", "w"], ["y"], group=2)], (4, 8, 8), {"w": weight(2, 16, 2, 3, 3)}),
    "depthwise": ([node("Conv", ["x", "w"], ["y"], group=4)], (4, 8, 8), {"w": weight(2, 12, 1, 3, 3)}),
    "dilated": ([node("Conv", ["x", "w"], ["y"], dilations=[2, 2])], (4, 8, 8), {"w": KERNEL}),
    "one dimension": ([node("Conv", ["x", "w"], ["y"], pads=[1, 1])], (4, 16), {"w": weight(2, 12, 4, 3)}),
    "transposed": (
        [node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])],
        (4, 8, 8),
        {"w": weight(2, 4, 6, 3, 3), "b": weight(3, 6)},
    ),
    "gru": (
        [
            node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            node("GRU", ["t", "W", "R", "B"], ["s", "h"], hidden_size=16),
            node("Squeeze", ["h", "axis"], ["y"]),
        ],
        (10, 8),
        {"W": weight(1, 1, 48, 8), "R": weight(2, 1, 48, 16), "B": weight(3, 1, 96), "axis": np.array([0])},
    ),
    "layer norm": behind_matmul(node("LayerNormalization", ["c", "s", "z"], ["y"]), s=ONES, z=0 * ONES),
    "product, constant first": product("a", "x", weight(1, 7, 6), (6, 5)),
    "product, batch of constants first": product("a", "x", weight(1, 4, 7, 6), (4, 6, 5)),
    "product, batch of constants": product("x", "a", weight(1, 4, 5, 8), (4, 6, 5)),
    "positions": behind_matmul(node("Add", ["c", "p"], ["y"]), p=weight(2, 6, 32)),
    "division": behind_matmul(node("Div", ["c", "p"], ["y"]), p=np.float32(1) + np.abs(weight(2, 6, 32))),
    "mean": behind_matmul(node("ReduceMean", ["c"], ["y"], axes=[1])),
    "sum": behind_matmul(node("ReduceSum", ["c", "i"], ["y"]), i=np.array([1])),
    "minimum": behind_matmul(node("ReduceMin", ["c"], ["y"], axes=[2])),
    "squeeze and excite": behind_conv(
        node("GlobalAveragePool", ["c"], ["g"]),
        node("Conv", ["g", "v"], ["h"]),
        node("Sigmoid", ["h"], ["k"]),
        node("Mul", ["c", "k"], ["y"]),
        v=weight(3, 8, 8, 1, 1),
    ),
    "resize": behind_conv(
        node("Resize", ["c", "", "s"], ["y"], mode="linear"), s=np.array([1, 1, 2, 2], np.float32)
    ),
    "concat and pool": behind_conv(
        node("Concat", ["c", "x"], ["d"], axis=1),
        node("AveragePool", ["d"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
    ),
    "prelu": behind_conv(node("PRelu", ["c", "s"], ["y"]), s=weight(3, 8, 1, 1)),
    "split": behind_conv(
        node("Split", ["c", "p"], ["d", "e"], axis=1), node("Mul", ["d", "e"], ["y"]), p=np.array([4, 4])
    ),
    "strided slice": behind_conv(
        node("Slice", ["c", "a", "b", "i", "s"], ["y"]),
        a=np.array([0]), b=np.array([6]), i=np.array([2]), s=np.array([2]),
    ),
    "padding": behind_conv(node("Pad", ["c", "p"], ["y"]), p=FRAME),
    "mirror": behind_conv(node("Pad", ["c", "p"], ["y"], mode="reflect"), p=FRAME),
    "depth to space": behind_conv(node("DepthToSpace", ["c"], ["y"], blocksize=2)),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-static"])
@pytest.mark.parametrize("name", CASES)
def test_an_operator_survives_quantization(name: str, precision: Precision, tmp_path: Path) -> None:
    nodes, shape, weights = CASES[name]
    opset = 20 if name == "Gelu" else 17
    source = model(nodes, {"x": ["batch", *shape]}, ["y"], weights, opset=opset)
    samples: Arrays = {"x": weight(1, 20, *shape) * 3}
    actual = compiled(source, precision, samples, tmp_path).run(samples)
    assert worst(actual, reference(source, samples)) < LIMIT
