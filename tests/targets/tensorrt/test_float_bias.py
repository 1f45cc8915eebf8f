"""FloatBias against onnxruntime and against TensorRT's parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from sprue.targets.tensorrt.child import ask
from sprue.targets.tensorrt.float_bias import FloatBias

from sprue.passes.quantize_static import QuantizeStatic

Arrays = dict[str, NDArray[Any]]


def unoptimised(model: ModelProto, inputs: Arrays) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    result: NDArray[Any] = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, inputs)[
        0
    ]
    return result


@pytest.fixture
def quantized(model: ModelProto, samples: Callable[..., Arrays]) -> ModelProto:
    quantize = QuantizeStatic(symmetric=True, op_types=("Conv", "Gemm"))
    made: ModelProto = quantize.apply(model, samples(model, 32))
    return made


def int32_biases(model: ModelProto) -> list[str]:
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    read = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
    return [n.name for n in read if kinds.get(n.input[0]) == TensorProto.INT32]


def test_no_int32_bias_is_left_and_the_outputs_stay(
    quantized: ModelProto, model: ModelProto, samples: Callable[..., Arrays]
) -> None:
    before = quantized.SerializeToString()
    changed = FloatBias().apply(quantized, {})
    assert int32_biases(quantized)
    assert int32_biases(changed) == []
    assert quantized.SerializeToString() == before
    onnx.checker.check_model(changed, full_check=True)
    inputs = samples(model, 16, seed=3)
    np.testing.assert_allclose(
        unoptimised(changed, inputs), unoptimised(quantized, inputs), rtol=1e-6, atol=1e-6
    )


def test_the_parser_refuses_int32_biases_and_takes_float_ones(quantized: ModelProto, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx")
    path, answers = tmp_path / "model.onnx", []
    for each in (quantized, FloatBias().apply(quantized, {})):
        path.write_bytes(each.SerializeToString())
        answers.append(ask("support", {"module": "tensorrt_rtx", "model": str(path)}, seconds=60))
    assert [a["supported"] for a in answers] == [False, True]
    assert answers[0]["refused"][0]["op"] == "DequantizeLinear"


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_scale_for_each_channel_runs_along_its_axis(
    network: Callable[..., ModelProto], tensor: Callable[..., Any], axis: int
) -> None:
    rng = np.random.default_rng(7)
    size = (3, 5)[axis]
    weights = {
        "q": rng.integers(-(2**20), 2**20, (3, 5), dtype=np.int32),
        "scale": rng.random(size, dtype=np.float32) + 0.1,
        "zero": np.zeros(size, np.int32),
    }
    made = network(
        [
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=axis),
            helper.make_node("Add", ["x", "w"], ["y"]),
        ],
        [tensor("x", TensorProto.FLOAT, 3, 5)],
        [tensor("y", TensorProto.FLOAT, 3, 5)],
        weights,
    )
    inputs: Arrays = {"x": np.zeros((3, 5), np.float32)}
    changed = FloatBias().apply(made, {})
    assert [n.op_type for n in changed.graph.node] == ["Add"]
    np.testing.assert_array_equal(unoptimised(changed, inputs), unoptimised(made, inputs))
