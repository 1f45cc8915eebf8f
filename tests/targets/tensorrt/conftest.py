"""Two small untrained networks in the likeness of the sample models, and artifacts made of them.

Test modules are imported by path and cannot import this one, so its functions reach them as fixtures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from sprue.targets.tensorrt import BACKEND

from sprue.backend import Variant
from sprue.target import Precision, Target

Arrays = dict[str, NDArray[Any]]

GPU = Target(
    id="gpu",
    description="an NVIDIA GPU",
    backends=("tensorrt",),
    os="linux",
    arch="x86_64",
    cpu="",
    features=(),
)


def variant(precision: Precision, **target: Any) -> Variant:
    return Variant(Target(**{**GPU.to_json(), **target}), "tensorrt", precision)


def network(
    nodes: list[NodeProto], inputs: list[Any], outputs: list[Any], weights: Arrays, opset: int = 18
) -> ModelProto:
    constants = [numpy_helper.from_array(w, n) for n, w in weights.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def floats(*shape: int, seed: int) -> NDArray[Any]:
    fan_in = int(np.prod(shape[1:])) or 1
    made: NDArray[Any] = np.random.default_rng(seed).standard_normal(shape) * fan_in**-0.5
    return made.astype(np.float32)


def tensor(name: str, kind: int, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def digits_like(batch: int | str = "batch") -> ModelProto:
    node = helper.make_node
    return network(
        [
            node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
            node("Relu", ["c1"], ["r1"], name="relu1"),
            node("MaxPool", ["r1"], ["p1"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["p1", "w2", "b2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
            node("Relu", ["c2"], ["r2"], name="relu2"),
            node("GlobalAveragePool", ["r2"], ["g"], name="average"),
            node("Flatten", ["g"], ["f"], name="flatten"),
            node("Gemm", ["f", "w3", "b3"], ["logits"], name="classifier", transB=1),
        ],
        [tensor("image", TensorProto.FLOAT, batch, 1, 8, 8)],
        [tensor("logits", TensorProto.FLOAT, batch, 10)],
        {
            "w1": floats(8, 1, 3, 3, seed=1),
            "b1": floats(8, seed=2),
            "w2": floats(16, 8, 3, 3, seed=3),
            "b2": floats(16, seed=4),
            "w3": floats(10, 16, seed=5),
            "b3": floats(10, seed=6),
        },
    )


def intent_like(batch: int | str = "batch") -> ModelProto:
    hidden, node = 16, helper.make_node
    return network(
        [
            node("Gather", ["table", "tokens"], ["e"], name="embedding"),
            node("Transpose", ["e"], ["t"], name="time_first", perm=[1, 0, 2]),
            node(
                "LSTM",
                ["t", "w", "r", "b"],
                ["y"],
                name="lstm",
                hidden_size=hidden,
                direction="bidirectional",
            ),
            node("ReduceMax", ["y", "time"], ["m"], name="pool", keepdims=0),
            node("Transpose", ["m"], ["mt"], name="batch_first", perm=[1, 0, 2]),
            node("Reshape", ["mt", "shape"], ["flat"], name="flat"),
            node("Gemm", ["flat", "w3", "b3"], ["logits"], name="classifier", transB=1),
        ],
        [tensor("tokens", TensorProto.INT64, batch, 16)],
        [tensor("logits", TensorProto.FLOAT, batch, 7)],
        {
            "table": floats(100, 24, seed=1),
            "w": floats(2, 4 * hidden, 24, seed=2),
            "r": floats(2, 4 * hidden, hidden, seed=3),
            "b": floats(2, 8 * hidden, seed=4),
            "time": np.array([0], np.int64),
            "shape": np.array([-1, 2 * hidden], np.int64),
            "w3": floats(7, 2 * hidden, seed=5),
            "b3": floats(7, seed=6),
        },
    )


def samples(model: ModelProto, count: int, seed: int = 0) -> Arrays:
    """Random inputs: standard normal pixels, or tokens of the 100 words that `intent_like` knows."""
    rng = np.random.default_rng(seed)
    if model.graph.input[0].name == "tokens":
        return {"tokens": rng.integers(0, 100, (count, 16), dtype=np.int64)}
    return {"image": rng.standard_normal((count, 1, 8, 8)).astype(np.float32)}


def prepare(model: ModelProto, precision: Precision, out: Path) -> Path:
    """What the planner does: the passes, then `compile` into an empty folder."""
    calibration = samples(model, 64)
    for change in BACKEND.passes(variant(precision)):
        model = change.apply(model, calibration)
    out.mkdir(parents=True)
    BACKEND.compile(model, variant(precision), calibration, out)
    return out


MODELS = {"digits-like": digits_like, "intent-like": intent_like}


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> ModelProto:
    return MODELS[request.param]()


@pytest.fixture
def digits() -> ModelProto:
    return digits_like()


@pytest.fixture
def intent() -> ModelProto:
    return intent_like()


@pytest.fixture(name="fixed_batch")
def _fixed_batch() -> ModelProto:
    return digits_like(batch=1)


@pytest.fixture(name="prepare")
def _prepare() -> Callable[..., Path]:
    return prepare


@pytest.fixture(name="samples")
def _samples() -> Callable[..., Arrays]:
    return samples


@pytest.fixture(name="variant")
def _variant() -> Callable[..., Variant]:
    return variant


@pytest.fixture(name="network")
def _network() -> Callable[..., ModelProto]:
    return network


@pytest.fixture(name="tensor")
def _tensor() -> Callable[..., Any]:
    return tensor
