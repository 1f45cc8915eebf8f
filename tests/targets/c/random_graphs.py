"""Random networks with branches, each from a seed: convolutions, pools, elementwise operators, joins."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .models import Array


class Network:
    """A graph in the making. `alive`: tensors that may still be read, with their shapes [channels, h, w]."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.weights: list[Any] = []
        shape = (int(self.rng.integers(1, 7)), int(self.rng.integers(4, 10)), int(self.rng.integers(4, 10)))
        self.shape = shape
        self.alive: dict[str, tuple[int, int, int]] = {"x": shape}

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        scale = 1.0 / max(1.0, float(np.sqrt(np.prod(shape[1:]))))
        data = (self.rng.standard_normal(shape) * scale).astype(np.float32)
        self.weights.append(numpy_helper.from_array(data, name))
        return name

    def add(self, op: str, inputs: list[str], shape: tuple[int, int, int], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], f"{op}_{len(self.nodes)}", **attributes))
        self.alive[name] = shape
        return name

    def pick(self) -> str:
        names = list(self.alive)
        return names[-1] if self.rng.random() < 0.6 else names[int(self.rng.integers(len(names)))]

    def grow(self) -> None:
        rng, x = self.rng, self.pick()
        c, h, w = self.alive[x]
        kind = rng.choice(
            ["conv", "depthwise", "pointwise", "pool", "unary", "add", "concat", "move", "bias"]
        )
        if kind == "conv":
            groups = int(rng.choice([g for g in (1, 2, 3) if c % g == 0]))
            out = groups * int(rng.integers(1, 5))
            self.window("Conv", x, out, [self.weight(out, c // groups, 0, 0), self.weight(out)], groups)
        elif kind == "depthwise":
            self.window("Conv", x, c, [self.weight(c, 1, 0, 0), self.weight(c)], c)
        elif kind == "pointwise":
            out = int(rng.integers(1, c + 2))
            self.add("Conv", [x, self.weight(out, c, 1, 1), self.weight(out)], (out, h, w))
        elif kind == "pool":
            self.window(str(rng.choice(["MaxPool", "AveragePool"])), x, c, [], 1)
        elif kind == "unary":
            self.add(str(rng.choice(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish"])), [x], (c, h, w))
        elif kind == "bias":
            self.add(str(rng.choice(["Add", "Mul", "Sub"])), [x, self.weight(c, 1, 1)], (c, h, w))
        elif kind == "move":
            self.add("Transpose", [x], (c, w, h), perm=[0, 1, 3, 2])
        else:
            self.join(str(kind), x)

    def window(self, op: str, x: str, out: int, weights: list[str], groups: int) -> None:
        rng = self.rng
        c, h, w = self.alive[x]
        k = [int(rng.integers(1, min(4, h + 1))), int(rng.integers(1, min(4, w + 1)))]
        pads = [int(v) for v in rng.integers(0, 2, 4)] if min(k) > 1 else [0, 0, 0, 0]
        strides = [int(v) for v in rng.integers(1, 3, 2)]
        size = [(n + pads[i] + pads[i + 2] - k[i]) // strides[i] + 1 for i, n in enumerate((h, w))]
        attributes: dict[str, Any] = {"kernel_shape": k, "pads": pads, "strides": strides}
        if weights:
            data = rng.standard_normal((out, c // groups, *k)).astype(np.float32) / np.float32(
                np.sqrt(c * k[0])
            )
            self.weights = [w_ for w_ in self.weights if w_.name != weights[0]]
            self.weights.append(numpy_helper.from_array(data, weights[0]))
            attributes["group"] = groups
        self.add(op, [x, *weights], (out, size[0], size[1]), **attributes)

    def join(self, kind: str, x: str) -> None:
        c, h, w = self.alive[x]
        others = [n for n, s in self.alive.items() if s[1:] == (h, w) and (kind == "concat" or s[0] == c)]
        other = others[int(self.rng.integers(len(others)))]
        if kind == "concat":
            self.add("Concat", [other, x], (self.alive[other][0] + c, h, w), axis=1)
        else:
            self.add("Add", [other, x], (c, h, w))

    def model(self) -> ModelProto:
        last = list(self.alive)[-1]
        early = list(self.alive)[len(self.alive) // 2]
        c = self.alive[last][0]
        pooled = self.add("GlobalAveragePool", [last], (c, 1, 1))
        flat = self.add("Flatten", [pooled], (c, 1, 1))
        self.nodes.append(
            helper.make_node("Gemm", [flat, self.weight(c, 5), self.weight(5)], ["scores"], "scores")
        )
        self.nodes.append(helper.make_node("Neg", [early], ["early"], "early"))
        graph = helper.make_graph(
            self.nodes, "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *self.shape])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("scores", "early")],
            self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def network(seed: int) -> tuple[ModelProto, Array]:
    made = Network(seed)
    for _ in range(int(made.rng.integers(3, 14))):
        made.grow()
        if max(np.prod(s) for s in made.alive.values()) > 4000:
            break
    return made.model(), made.rng.standard_normal((8, *made.shape)).astype(np.float32)
