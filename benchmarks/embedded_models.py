"""Small networks for microcontrollers with seeded weights, on which embedded.py compares generators of C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]
SAMPLES = 16
SEED = 6


class Network:
    """A chain of layers in the making. Weights keep the size of what passes through them."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(SEED)
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.last = "x"

    def weight(self, *shape: int, scale: float | None = None) -> str:
        name = f"w{len(self.weights)}"
        spread = np.sqrt(2.0 / np.prod(shape[1:])) if scale is None else scale
        data = (self.rng.standard_normal(shape) * spread).astype(np.float32)
        self.weights.append(numpy_helper.from_array(data, name))
        return name

    def constant(self, data: Array) -> str:
        self.weights.append(numpy_helper.from_array(data, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def add(self, op: str, *others: str, result: str = "", output: int = 0, **attributes: Any) -> None:
        name = result or f"t{len(self.nodes)}"
        outputs = [""] * output + [name]
        self.nodes.append(
            helper.make_node(op, [self.last, *others], outputs, f"n{len(self.nodes)}", **attributes)
        )
        self.last = name

    def convolution(self, outputs: int, inputs: int, kernel: tuple[int, int], **attributes: Any) -> None:
        weights = self.weight(outputs, inputs, *kernel)
        self.add("Conv", weights, self.weight(outputs, scale=0.1), **attributes)
        self.add("Relu")

    def dense(self, outputs: int, inputs: int, result: str = "") -> None:
        self.add(
            "Gemm", self.weight(outputs, inputs), self.weight(outputs, scale=0.1), transB=1, result=result
        )

    def model(self, name: str, shape: tuple[int, ...], outputs: int) -> tuple[ModelProto, Array]:
        """The model, and samples [SAMPLES, ...] of its input."""
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])
        graph = helper.make_graph(self.nodes, name, [x], [y], self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return made, self.rng.standard_normal((SAMPLES, *shape)).astype(np.float32)


def small_cnn() -> tuple[ModelProto, Array]:
    """32x32 grey: two convolutions of 8 and 16 channels with pools, and a dense layer. 0.37 M products."""
    n = Network()
    n.convolution(8, 1, (3, 3), pads=[1, 1, 1, 1])
    n.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    n.convolution(16, 8, (3, 3), pads=[1, 1, 1, 1])
    n.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    n.add("Flatten")
    n.dense(10, 16 * 8 * 8, "y")
    return n.model("small_cnn", (1, 32, 32), 10)


def ds_cnn() -> tuple[ModelProto, Array]:
    """MLPerf Tiny's keyword spotting: 49x10 MFCCs, 64 channels, 4 separable convolutions. 2.7 M products."""
    n = Network()
    n.convolution(64, 1, (10, 4), strides=[2, 2], pads=[4, 1, 5, 1])
    for _ in range(4):
        n.convolution(64, 1, (3, 3), group=64, pads=[1, 1, 1, 1])
        n.convolution(64, 64, (1, 1))
    n.add("AveragePool", kernel_shape=[25, 5])
    n.add("Flatten")
    n.dense(12, 64)
    n.add("Softmax", axis=1, result="y")
    return n.model("ds_cnn", (1, 49, 10), 12)


def lstm() -> tuple[ModelProto, Array]:
    """16 steps of 16 features through 24 units, then a dense layer. 61 k products."""
    return _recurrent("LSTM", 4)


def gru() -> tuple[ModelProto, Array]:
    """The same with a GRU as torch has it, its reset behind the product. 46 k products."""
    return _recurrent("GRU", 3, linear_before_reset=1)


def _recurrent(op: str, gates: int, **attributes: Any) -> tuple[ModelProto, Array]:
    n = Network()
    steps, width, hidden = 16, 16, 24
    n.add("Transpose", perm=[1, 0, 2])
    weights = [n.weight(1, gates * hidden, depth, scale=0.3) for depth in (width, hidden)]
    bias = n.weight(1, 2 * gates * hidden, scale=0.1)
    n.add(op, *weights, bias, output=1, hidden_size=hidden, **attributes)
    n.add("Squeeze", n.constant(np.array([0], np.int64)))
    n.dense(6, hidden, "y")
    return n.model(op.lower(), (steps, width), 6)


MODELS: dict[str, Callable[[], tuple[ModelProto, Array]]] = {
    "cnn": small_cnn, "ds-cnn": ds_cnn, "lstm": lstm,
}  # fmt: skip
