"""Quantized files are really quantized: sizes, tensor types, versions, border, determinism."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from sprue.errors import SprueError
from sprue.target import Precision

from .build import BACKEND, Arrays, compiled, mobile, model, reference, variant, weight, worst

pytest.importorskip("ai_edge_quantizer", reason="needs the extra sprue[mobile]")
node = helper.make_node
WORDS, SIZE, HIDDEN, CLASSES = 300, 48, 64, 12


def speech() -> tuple[ModelProto, Arrays]:
    """tokens int64 [batch,12] -> logits: an embedding, a bidirectional LSTM, a mean, a classifier."""
    weights: Arrays = {"emb": weight(1, WORDS, SIZE), "W": weight(2, 2, 4 * HIDDEN, SIZE)}
    weights |= {"R": weight(3, 2, 4 * HIDDEN, HIDDEN), "B": weight(4, 2, 8 * HIDDEN)}
    weights |= {"K": weight(5, 2 * HIDDEN, CLASSES), "k": weight(6, CLASSES)}
    weights |= {"joined": np.array([0, 0, 2 * HIDDEN])}
    nodes = [
        node("Gather", ["emb", "tokens"], ["e"]),
        node("Transpose", ["e"], ["t"], perm=[1, 0, 2]),
        node("LSTM", ["t", "W", "R", "B"], ["s"], hidden_size=HIDDEN, direction="bidirectional"),
        node("Transpose", ["s"], ["b"], perm=[2, 0, 1, 3]),
        node("Reshape", ["b", "joined"], ["j"]),
        node("ReduceMean", ["j"], ["m"], axes=[1], keepdims=0),
        node("Gemm", ["m", "K", "k"], ["logits"]),
    ]
    source = model(nodes, {"tokens": ["batch", 12]}, ["logits"], weights, dtype=TensorProto.INT64)
    return source, {"tokens": np.random.default_rng(0).integers(0, WORDS, (40, 12))}


def vision() -> tuple[ModelProto, Arrays]:
    """image float32 [batch,3,12,12] -> logits: convolutions, one depthwise, pooling, a classifier."""
    weights: Arrays = {"a": weight(1, 32, 3, 3, 3), "b": weight(2, 32, 1, 3, 3)}
    weights |= {"c": weight(3, 64, 32, 1, 1)}
    weights |= {"a0": weight(4, 32), "b0": weight(5, 32), "c0": weight(6, 64), "d": weight(7, CLASSES, 64)}
    nodes = [
        node("Conv", ["image", "a", "a0"], ["1"], pads=[1, 1, 1, 1]),
        node("Relu", ["1"], ["2"]),
        node("Conv", ["2", "b", "b0"], ["3"], pads=[1, 1, 1, 1], group=32),
        node("Relu", ["3"], ["4"]),
        node("Conv", ["4", "c", "c0"], ["5"]),
        node("Relu", ["5"], ["6"]),
        node("MaxPool", ["6"], ["7"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["7"], ["8"]),
        node("Flatten", ["8"], ["9"]),
        node("Gemm", ["9", "d"], ["logits"], transB=1),
    ]
    source = model(nodes, {"image": ["batch", 3, 12, 12]}, ["logits"], weights)
    return source, {"image": np.random.default_rng(0).standard_normal((40, 3, 12, 12)).astype(np.float32)}


CASES = {"speech": speech(), "vision": vision()}
LIMITS: dict[Precision, float] = {"float32": 2e-6, "float16": 2e-3, "int8-dynamic": 0.03, "int8-static": 0.05}
each_case = pytest.mark.parametrize("name", CASES)


def report(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return told


@each_case
@pytest.mark.parametrize("precision", LIMITS)
def test_every_precision_is_near_the_reference(name: str, precision: Precision, tmp_path: Path) -> None:
    source, samples = CASES[name]
    actual = compiled(source, precision, samples, tmp_path).run(samples)
    assert worst(actual, reference(source, samples)) < LIMITS[precision]


@each_case
def test_weights_are_stored_in_the_type_of_the_precision(name: str, tmp_path: Path) -> None:
    source, samples = CASES[name]
    sizes = {}
    for precision in BACKEND.precisions:
        folder = tmp_path / precision
        folder.mkdir()
        compiled(source, precision, samples, folder)
        sizes[precision] = (folder / "model.tflite").stat().st_size
        weights = report(folder)["weights"]
        kind = {"float32": "float32", "float16": "float16"}.get(precision, "int8")
        assert weights[kind] / sum(weights.values()) > 0.95, f"{precision}: {weights}"
        assert report(folder)["quantized_fraction"] == pytest.approx(
            weights.get("int8", 0) / sum(weights.values())
        )
    if name == "speech":  # large enough for the graph itself not to count
        assert sizes["float16"] / sizes["float32"] < 0.54
        assert sizes["int8-dynamic"] / sizes["float32"] < 0.32
        assert sizes["int8-static"] / sizes["float32"] < 0.33


@each_case
@pytest.mark.parametrize("precision", ["float16", "int8-dynamic", "int8-static"])
def test_the_border_stays_as_in_the_source(name: str, precision: Precision, tmp_path: Path) -> None:
    source, samples = CASES[name]
    compiled(source, precision, samples, tmp_path)
    told = report(tmp_path)
    kinds = {"tokens": "int64", "image": "float32"}
    assert [(i["name"], i["dtype"]) for i in told["inputs"]] == [(n, kinds[n]) for n in samples]
    assert [(o["name"], o["dtype"]) for o in told["outputs"]] == [("logits", "float32")]


def test_static_quantization_computes_in_integers(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    source, samples = CASES["vision"]
    compiled(source, "int8-static", samples, tmp_path)
    made = Interpreter(model_path=str(tmp_path / "model.tflite"))
    types = {
        d["op_name"]: {made._get_tensor_details(i, 0)["dtype"] for i in d["inputs"][:2] if i >= 0}
        for d in made._get_ops_details()
    }
    for operation in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        assert types[operation] == {np.int8}
    assert types["FULLY_CONNECTED"] == {np.float32, np.int8}, "the last layer: its result is not clipped"


@pytest.mark.parametrize("laid_out", [False, True])
def test_an_output_beyond_the_calibrated_range_is_not_clipped(laid_out: bool, tmp_path: Path) -> None:
    """Each input alone stays within what was calibrated; together they make one eight times as large."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["flat" if laid_out else "y"])]
    weights = {"w": np.ones((8, 2), np.float32)}
    if laid_out:
        nodes.append(helper.make_node("Reshape", ["flat", "shape"], ["y"]))
        weights["shape"] = np.array([1, 2, 1])
    source = model(nodes, {"x": [1, 8]}, ["y"], weights)
    alone = {"x": np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32)}
    runner = compiled(source, "int8-static", alone, tmp_path)
    together = runner.run({"x": np.ones((1, 8), np.float32)})["y"].astype(np.float32)
    np.testing.assert_allclose(together.ravel(), [8, 8], rtol=0.02)


def test_scores_beside_a_mask_of_minus_10000_are_not_rounded_to_its_steps(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "w"], ["scores"]),
        node("Mul", ["hidden", "large"], ["mask"]),
        node("Add", ["scores", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["shares"]),
        node("Gemm", ["shares", "v"], ["y"]),
    ]
    weights: Arrays = {"w": weight(1, 16, 16), "v": weight(2, 16, 8), "large": np.array(-10000, np.float32)}
    source = model(nodes, {"x": ["batch", 16], "hidden": ["batch", 16]}, ["y"], weights)
    random = np.random.default_rng(0)
    samples = {"x": random.standard_normal((40, 16)) * 4, "hidden": random.integers(0, 2, (40, 16))}
    fed = {name: array.astype(np.float32) for name, array in samples.items()}
    found = compiled(source, "int8-static", fed, tmp_path).run(fed)
    expected = reference(source, fed)
    assert worst(found, expected) < LIMITS["int8-static"]


@each_case
@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-static"])
def test_the_order_of_the_calibration_samples_does_not_show(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    source, samples = CASES[name]
    made = []
    for step in (1, -1):
        folder = tmp_path / str(step)
        folder.mkdir()
        compiled(source, precision, {k: v[::step] for k, v in samples.items()}, folder)
        made.append((folder / "model.tflite").read_bytes())
    assert made[0] == made[1]


def test_one_scale_a_row_is_the_rule_and_one_a_matrix_for_tflite_runtime(tmp_path: Path) -> None:
    from sprue.targets.tflite.flatbuffer import read, schema

    source, samples = CASES["speech"]
    for target, rows, versions in ((mobile(), True, (12, 4)), (mobile("tflite-runtime"), False, (3, 3))):
        BACKEND.compile(fixed(source), variant("int8-dynamic", target), samples, tmp_path)
        made = read((tmp_path / "model.tflite").read_bytes())
        s, graph = schema(), made.subgraphs[0]
        wanted = (s.BuiltinOperator.FULLY_CONNECTED, s.BuiltinOperator.EMBEDDING_LOOKUP)
        for code, version in zip(wanted, versions, strict=True):
            for operation in graph.operators:
                used = made.operatorCodes[operation.opcodeIndex]
                if used.builtinCode == code:
                    weights = graph.tensors[operation.inputs[1]]
                    assert (len(weights.quantization.scale) > 1) == rows
                    assert used.version == version


@pytest.mark.parametrize(("width", "scales"), [(4, 0), (16, 1), (64, WORDS)])
def test_scales_never_weigh_more_than_the_rows_they_belong_to(
    width: int, scales: int, tmp_path: Path
) -> None:
    from sprue.targets.tflite.flatbuffer import read

    nodes = [node("Gather", ["emb", "tokens"], ["e"]), node("MatMul", ["e", "w"], ["logits"])]
    weights: Arrays = {"emb": weight(1, WORDS, width), "w": weight(2, width, 9)}
    source = model(nodes, {"tokens": ["batch", 12]}, ["logits"], weights, dtype=TensorProto.INT64)
    samples = CASES["speech"][1]
    actual = compiled(source, "int8-dynamic", samples, tmp_path).run(samples)
    assert worst(actual, reference(source, samples)) < LIMITS["int8-dynamic"]
    graph = read((tmp_path / "model.tflite").read_bytes()).subgraphs[0]
    table = next(t for t in graph.tensors if list(t.shape) == [WORDS, width])
    found = table.quantization.scale if table.quantization is not None else None
    assert (0 if found is None else len(found)) == scales


def fixed(source: ModelProto) -> ModelProto:
    from sprue.graph import with_batch

    return with_batch(source, 1)


def test_static_without_calibration_data_says_so(tmp_path: Path) -> None:
    with pytest.raises(SprueError, match="calibration"):
        BACKEND.compile(fixed(CASES["vision"][0]), variant("int8-static"), {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_calibration_data_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    samples: Arrays = {"image": np.full((2, 3, 12, 12), np.nan, np.float32)}
    with pytest.raises(SprueError, match="'image'"):
        BACKEND.compile(fixed(CASES["vision"][0]), variant("int8-static"), samples, tmp_path)


def test_int8_of_a_model_without_weights_is_a_finding() -> None:
    found = BACKEND.check(model([node("Relu", ["x"], ["y"])], {"x": [1, 3]}, ["y"]), variant("int8-dynamic"))
    assert [f.kind for f in found] == ["precision"]


def test_compiling_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, samples = CASES["vision"]
    compiled(source, "int8-static", samples, tmp_path)
    assert capsys.readouterr() == ("", "")
