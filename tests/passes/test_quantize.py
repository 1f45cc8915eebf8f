"""The quantizing passes: what the graph states, how far the values move, and what bad data is answered with.

The expected scales are computed here from the definition (largest absolute weight / 127 and so on), not taken
from the quantizer.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from sprue.canonical import digest
from sprue.errors import SprueError
from sprue.graph import inputs, outputs, serialise, weights
from sprue.passes.quantize_dynamic import QuantizeDynamic
from sprue.passes.quantize_static import QuantizeStatic
from sprue.passes.simplify import Simplify

Samples = dict[str, NDArray[Any]]
Case = tuple[ModelProto, Samples]
both_networks = pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])


def run(model: ModelProto, samples: Samples) -> NDArray[Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(serialise(model), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, samples)[0])


def producer(model: ModelProto, tensor: str) -> NodeProto | None:
    return next((n for n in model.graph.node if tensor in n.output), None)


def quantized_weight(model: ModelProto, op_type: str, index: int) -> tuple[NDArray[Any], ...]:
    """int values, scale and zero point of an operator's constant input."""
    node = next(n for n in model.graph.node if n.op_type == op_type)
    dequantize = producer(model, node.input[index])
    assert dequantize is not None
    assert dequantize.op_type == "DequantizeLinear"
    constants = weights(model)
    return tuple(constants[name] for name in dequantize.input)


def damaged(samples: Samples, value: float) -> Samples:
    array = samples["image"].copy()
    array[3, 0, 2, 2] = value
    return {"image": array}


@both_networks
@pytest.mark.parametrize(
    "change",
    [
        QuantizeStatic(),
        QuantizeStatic(symmetric=True),
        QuantizeStatic(activations="uint8", pair_safe=True),
        QuantizeStatic(float_outputs=True),
        QuantizeStatic(per_channel=False),
        QuantizeStatic(method="entropy"),
        QuantizeStatic(method="percentile"),
        QuantizeDynamic(),
        QuantizeDynamic(reduce_range=False),
    ],
    ids=str,
)
def test_the_values_stay_near_the_float_model_and_the_border_stays(
    network: str, change: QuantizeStatic | QuantizeDynamic, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(network)
    model, samples = Simplify().apply(case[0], {}), case[1]
    made = change.apply(model, samples)
    onnx.checker.check_model(made)
    assert inputs(made) == inputs(model)
    assert outputs(made) == outputs(model)
    expected = run(case[0], samples)
    assert np.abs(run(made, samples) - expected).max() <= 0.03 * np.abs(expected).max()


def test_weights_are_symmetric_per_channel_and_biases_int32(tiny_cnn: Case) -> None:
    model = Simplify().apply(tiny_cnn[0], {})
    made = QuantizeStatic().apply(model, tiny_cnn[1])
    kernel: NDArray[Any] = weights(model)[model.graph.node[0].input[1]]
    values, scale, zero = quantized_weight(made, "Conv", 1)
    assert values.dtype == np.int8
    assert not zero.any()
    wanted = np.abs(kernel).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(scale, wanted, rtol=1e-6)
    restored = values.astype(np.float32) * scale[:, None, None, None]
    assert (np.abs(restored - kernel) <= scale[:, None, None, None] / 2 + 1e-6).all()
    bias, bias_scale, _ = quantized_weight(made, "Conv", 2)
    assert bias.dtype == np.int32
    first = next(n for n in made.graph.node if n.op_type == "QuantizeLinear")
    constants: Samples = weights(made)
    np.testing.assert_allclose(bias_scale, constants[first.input[1]] * scale, rtol=1e-6)


def test_a_per_tensor_scale_covers_the_largest_weight(tiny_cnn: Case) -> None:
    model = Simplify().apply(tiny_cnn[0], {})
    made = QuantizeStatic(per_channel=False).apply(model, tiny_cnn[1])
    kernel: NDArray[Any] = weights(model)[model.graph.node[0].input[1]]
    _, scale, _ = quantized_weight(made, "Conv", 1)
    assert scale == pytest.approx(float(np.abs(kernel).max()) / 127, rel=1e-6)


def test_a_float_output_is_not_clipped_where_the_data_leave_the_calibrated_range(tiny_cnn: Case) -> None:
    model, samples = Simplify().apply(tiny_cnn[0], {}), tiny_cnn[1]
    beyond = {"image": samples["image"] * np.float32(0.9)}
    calibration = {"image": samples["image"] * np.float32(0.45)}
    expected = run(model, beyond)
    errors = {
        kept: np.abs(
            run(QuantizeStatic(float_outputs=kept).apply(model, calibration), beyond) - expected
        ).max()
        for kept in (False, True)
    }
    assert errors[True] <= errors[False]
    made = QuantizeStatic(float_outputs=True).apply(model, calibration)
    last = producer(made, model.graph.output[0].name)
    assert last is not None
    assert last.op_type != "DequantizeLinear"


def test_the_input_range_is_the_one_that_the_calibration_data_has(tiny_cnn: Case) -> None:
    model, samples = tiny_cnn
    image = samples["image"]
    made = QuantizeStatic().apply(model, samples)
    first = next(n for n in made.graph.node if n.op_type == "QuantizeLinear")
    scale, zero = (weights(made)[name] for name in first.input[1:])
    assert zero.dtype == np.int8
    assert float(scale.item()) == pytest.approx(float(image.max() - image.min()) / 255, rel=1e-5)


def test_symmetric_activations_have_zero_points_of_zero_and_leave_relu_next_to_its_convolution(
    tiny_cnn: Case,
) -> None:
    model = Simplify().apply(tiny_cnn[0], {})
    made = QuantizeStatic(symmetric=True).apply(model, tiny_cnn[1])
    pairs = [n for n in made.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(not weights(made)[n.input[2]].any() for n in pairs if len(n.input) == 3)
    relu = next(n for n in made.graph.node if n.op_type == "Relu")
    before = producer(made, relu.input[0])
    assert before is not None
    assert before.op_type == "Conv"


@both_networks
@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_calibrates_to_the_same_scales_as_a_free_one(
    network: str, batch: int, request: pytest.FixtureRequest
) -> None:
    model, samples = request.getfixturevalue(network)
    samples = {k: v[:40] for k, v in samples.items()}
    free: Samples = weights(QuantizeStatic().apply(Simplify().apply(model, {}), samples))
    fixed: Samples = weights(QuantizeStatic().apply(Simplify(batch).apply(model, {}), samples))
    for name in (n for n in fixed if n.endswith("_scale")):
        assert fixed[name].dtype == np.float32
        assert np.allclose(fixed[name], free[name], rtol=1e-5, atol=0)


def test_only_the_operators_asked_for_are_quantized(tiny_cnn: Case) -> None:
    made = QuantizeStatic(op_types=("Gemm",)).apply(tiny_cnn[0], tiny_cnn[1])
    convolution = next(n for n in made.graph.node if n.op_type == "Conv")
    assert convolution.input[1] in weights(made)
    assert quantized_weight(made, "Gemm", 1)[0].dtype == np.int8
    left = QuantizeStatic(exclude=("conv",)).apply(tiny_cnn[0], tiny_cnn[1])
    assert next(n for n in left.graph.node if n.op_type == "Conv").input[1] in weights(left)


def masked_attention(mask: float) -> tuple[ModelProto, Samples]:
    """Self-attention over x float32 [batch,6,16], where a padded position (x[..., 0] < -1) is masked."""
    rng = np.random.default_rng(3)
    constants = {n: (rng.standard_normal((16, 16)) * 0.15).astype(np.float32) for n in ("wq", "wk", "wv")}
    constants |= {"mask": np.array(mask, np.float32), "none": np.array(0, np.float32)}
    constants |= {"pad": np.array(-1, np.float32), "first": np.array([0]), "one": np.array([1])}
    make = helper.make_node
    layers = [
        make("Slice", ["x", "first", "one", "two"], ["key"], "key"),
        make("Less", ["key", "pad"], ["padded"], "padded"),
        make("Transpose", ["padded"], ["row"], "row", perm=[0, 2, 1]),
        make("Where", ["row", "mask", "none"], ["bias"], "bias"),
        make("MatMul", ["x", "wq"], ["q"], "q"),
        make("MatMul", ["x", "wk"], ["k"], "k"),
        make("MatMul", ["x", "wv"], ["v"], "v"),
        make("Transpose", ["k"], ["kt"], "kt", perm=[0, 2, 1]),
        make("MatMul", ["q", "kt"], ["scores"], "scores"),
        make("Add", ["scores", "bias"], ["masked"], "masked"),
        make("Softmax", ["masked"], ["weights"], "weights", axis=-1),
        make("MatMul", ["weights", "v"], ["y"], "y"),
    ]
    border = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 6, 16]) for n in ("x", "y")]
    tensors = [onnx.numpy_helper.from_array(a, n) for n, a in {**constants, "two": np.array([2])}.items()]
    graph = helper.make_graph(layers, "attention", border[:1], border[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model, {"x": rng.standard_normal((40, 6, 16)).astype(np.float32)}


@pytest.mark.parametrize("mask", [-np.inf, -3.4e38, -1e4])
def test_an_attention_mask_does_not_spoil_the_ranges(mask: float) -> None:
    model, samples = masked_attention(mask)
    made = QuantizeStatic().apply(model, samples)
    expected = run(model, samples)
    assert np.isfinite(expected).all()
    assert np.abs(run(made, samples) - expected).max() <= 0.05 * np.abs(expected).max()
    names = {n.name: n for n in made.graph.node}
    assert names["weights"].input[0] == "masked", "the scores go into Softmax as they are"
    before = producer(made, names["scores"].input[0])
    assert before is not None
    assert before.op_type == "DequantizeLinear"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_calibration_data_that_is_not_finite_is_named(tiny_cnn: Case, value: float) -> None:
    with pytest.raises(SprueError, match=r"'image' holds NaN or infinity .*sample 3") as caught:
        QuantizeStatic().apply(tiny_cnn[0], damaged(tiny_cnn[1], value))
    assert caught.value.remedy


@pytest.mark.parametrize("change", [QuantizeStatic(), QuantizeDynamic()], ids=["static", "dynamic"])
def test_weights_that_are_not_finite_are_named(
    tiny_cnn: Case, change: QuantizeStatic | QuantizeDynamic
) -> None:
    model = ModelProto()
    model.CopyFrom(tiny_cnn[0])
    tensor = next(t for t in model.graph.initializer if t.name == "matrix")
    array = weights(model)["matrix"].copy()
    array[0, 0] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, "matrix"))
    with pytest.raises(SprueError, match="'matrix'"):
        change.apply(model, tiny_cnn[1])


def test_activations_that_overflow_are_named(tiny_cnn: Case) -> None:
    samples = {"image": np.full((4, 1, 8, 8), 3e38, np.float32)}
    with pytest.raises(SprueError, match="'conv' is NaN or infinite on the calibration data"):
        QuantizeStatic().apply(tiny_cnn[0], samples)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({}, "has no 'image'"),
        ({"picture": np.zeros((4, 1, 8, 8), np.float32)}, "has no 'image'"),
        ({"image": np.zeros((4, 1, 8, 8), np.float64)}, "float64"),
        ({"image": np.zeros((4, 8, 8), np.float32)}, r"\[4, 8, 8\]"),
        ({"image": np.zeros((4, 1, 8, 9), np.float32)}, r"\[4, 1, 8, 9\]"),
        ({"image": np.zeros((0, 1, 8, 8), np.float32)}, "0 calibration samples"),
    ],
)
def test_calibration_data_that_does_not_fit_is_named(tiny_cnn: Case, samples: Samples, message: str) -> None:
    with pytest.raises(SprueError, match=message) as caught:
        QuantizeStatic().apply(tiny_cnn[0], samples)
    assert caught.value.remedy


def test_a_batch_larger_than_the_calibration_data_is_named(tiny_cnn: Case) -> None:
    model = Simplify(batch=100).apply(tiny_cnn[0], {})
    with pytest.raises(SprueError, match="70 calibration samples are not enough for a batch of 100"):
        QuantizeStatic().apply(model, tiny_cnn[1])


def test_dynamic_quantization_stores_int8_and_leaves_convolutions_alone(
    tiny_cnn: Case, tiny_bilstm: Case
) -> None:
    made = QuantizeDynamic().apply(tiny_bilstm[0], {})
    kinds = {n.op_type for n in made.graph.node}
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= kinds
    types = {t.name: t.data_type for t in made.graph.initializer}
    recurrent = next(n for n in made.graph.node if n.op_type == "DynamicQuantizeLSTM").input[1]
    assert types[recurrent] == TensorProto.INT8
    assert "Conv" in {n.op_type for n in QuantizeDynamic().apply(tiny_cnn[0], {}).graph.node}


@pytest.mark.parametrize("change", [QuantizeStatic(), QuantizeDynamic()], ids=["static", "dynamic"])
def test_nothing_is_printed_logged_or_left_behind(
    change: QuantizeStatic | QuantizeDynamic,
    tiny_cnn: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handlers, before = logging.getLogger().handlers[:], serialise(tiny_cnn[0])
    change.apply(tiny_cnn[0], tiny_cnn[1])
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().manager.disable == logging.NOTSET
    assert list(tmp_path.iterdir()) == []
    assert serialise(tiny_cnn[0]) == before


@pytest.mark.slow
@both_networks
def test_other_processes_with_other_hash_seeds_give_the_same_bytes(
    network: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model, samples = request.getfixturevalue(network)
    (tmp_path / "model.onnx").write_bytes(serialise(model))
    np.savez(tmp_path / "samples.npz", allow_pickle=False, **samples)
    script = """
import sys, numpy as np
from pathlib import Path
from sprue.canonical import digest
from sprue.graph import read_model, serialise
from sprue.passes.float16 import Float16
from sprue.passes.quantize_dynamic import QuantizeDynamic
from sprue.passes.quantize_static import QuantizeStatic
from sprue.passes.simplify import Simplify
model = Simplify().apply(read_model(Path("model.onnx")), {})
samples = dict(np.load("samples.npz", allow_pickle=False))
for change in (QuantizeStatic(), QuantizeDynamic(), QuantizeStatic(symmetric=True), Float16()):
    print(digest(serialise(change.apply(model, samples))))
"""
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    here = digest(serialise(QuantizeStatic().apply(Simplify().apply(model, {}), samples)))
    assert printed[0] == printed[1]
    assert printed[0][0] == here
    assert len(set(printed[0])) == 4


def test_nothing_is_rounded_on_the_way_to_a_layer_that_computes_in_float(tiny_bilstm: Case) -> None:
    model, samples = Simplify().apply(tiny_bilstm[0], {}), tiny_bilstm[1]
    made = QuantizeStatic(float_outputs=True).apply(model, samples)
    (lstm,) = [n for n in made.graph.node if n.op_type == "LSTM"]
    before = producer(made, lstm.input[0])
    assert before is None or before.op_type != "DequantizeLinear"
    assert any(n.op_type == "DequantizeLinear" for n in made.graph.node), "the dense layer is quantized"
