"""What is known of a graph without running it: enough for a backend to say what is likely to pay.

Planning loads no model, so these are the result of a cached action, and JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from onnx import ModelProto

Kind = Literal["convolutional", "recurrent", "transformer", "dense"]

CONVOLUTIONS = ("Conv", "ConvTranspose")
RECURRENT = ("LSTM", "GRU", "RNN")
PRODUCTS = ("Gemm", "MatMul", "Attention")


@dataclass(frozen=True)
class Facts:
    """By operator type: how many nodes, how many trained weights, how many multiply-adds for one sample.

    Multiply-adds are of operators with constant weights, and of those whose shapes are known.
    """

    operators: Mapping[str, int]
    weights: Mapping[str, int]
    multiply_adds: Mapping[str, int]

    @property
    def kind(self) -> Kind:
        """What most of the arithmetic is. Attention counts, however small: static int8 ruins it first."""
        work = self.multiply_adds if sum(self.multiply_adds.values()) else self.weights
        most = max(
            (CONVOLUTIONS, RECURRENT, PRODUCTS), key=lambda group: sum(work.get(op, 0) for op in group)
        )
        if most is PRODUCTS:
            norms = {"LayerNormalization", "Softmax"} <= self.operators.keys()
            return "transformer" if "Attention" in self.operators or norms else "dense"
        return "convolutional" if most is CONVOLUTIONS else "recurrent"

    def to_json(self) -> dict[str, Any]:
        return {
            name: dict(sorted(getattr(self, name).items()))
            for name in ("operators", "weights", "multiply_adds")
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Facts:
        return cls(data["operators"], data["weights"], data["multiply_adds"])


def facts(model: ModelProto) -> Facts:
    """Count nodes, weights and multiply-adds of the main graph, at one sample."""
    from sprue.errors import SprueError
    from sprue.graph import weights, with_batch

    with suppress(SprueError):  # another free axis: then shapes, and with them the arithmetic, are half known
        model = with_batch(model, 1)
    held = {name: array.size for name, array in weights(model).items() if array.dtype.kind == "f"}
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in [*model.graph.value_info, *model.graph.output, *model.graph.input]
    }
    counted: Counter[str] = Counter()
    work: Counter[str] = Counter()
    for node in model.graph.node:
        of = sum(held.get(name, 0) for name in node.input)
        counted[node.op_type] += of
        if node.op_type in CONVOLUTIONS + RECURRENT + PRODUCTS:
            work[node.op_type] += of * _positions(node.op_type, shapes.get(node.output[0], []))
    operators = Counter(n.op_type for n in model.graph.node)
    return Facts(operators, {k: v for k, v in counted.items() if v}, {k: v for k, v in work.items() if v})


def _positions(op: str, shape: list[int]) -> int:
    """How often each weight is used: positions of a convolution's output, rows of a product, time steps.

    0 where the shape is not known. Outputs are [1, C, H, W], [rows, columns] and [time, directions, 1, H].
    """
    if op in CONVOLUTIONS:
        return prod(shape[2:]) if len(shape) > 2 else 0
    if op in RECURRENT:
        return shape[0] if shape else 0
    return prod(shape[:-1]) if shape else 0
