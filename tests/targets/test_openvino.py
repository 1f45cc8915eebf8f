"""What OpenVINO's backend adds to the contract: stable names in the IR, all unsupported operators at once."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from sprue.backend import Variant, find
from sprue.errors import SprueError
from sprue.facts import Facts
from sprue.passes.simplify import Simplify
from sprue.target import Precision, load_target
from sprue.variant import Settings

pytestmark = pytest.mark.skipif(
    find_spec("openvino") is None or find_spec("nncf") is None, reason="needs the extra openvino"
)

Samples = dict[str, NDArray[Any]]
Case = tuple[ModelProto, Samples]
BACKEND = find("openvino")
FLOAT = TensorProto.FLOAT


def variant(precision: Precision = "float32", threads: int = 1) -> Variant:
    return Variant(load_target("server-cpu"), "openvino", precision, settings=Settings(threads))


def compiled(case: Case, precision: Precision, out: Path) -> Path:
    model = case[0]
    for change in BACKEND.passes(variant(precision)):
        model = change.apply(model, case[1])
    BACKEND.compile(model, variant(precision), case[1], out)
    return out


@pytest.mark.parametrize("precision", ["float32", "float16", "int8-static"])
@pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])
def test_no_layer_has_a_counted_name_and_no_two_the_same(
    network: str, precision: Precision, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    compiled(request.getfixturevalue(network), precision, tmp_path)
    names = [layer.get("name", "") for layer in ET.parse(tmp_path / "model.xml").iter("layer")]
    assert [n for n in names if re.fullmatch(r"[A-Za-z0-9]+_\d+([_/].*)?", n)] == []
    assert [n for n in names if "@" in n] == []
    assert len(names) == len(set(names))


def test_the_names_of_the_nodes_are_those_of_the_onnx(tiny_cnn: Case, tmp_path: Path) -> None:
    compiled(tiny_cnn, "int8-static", tmp_path)
    layers = {v.get("name"): v.get("type") for v in ET.parse(tmp_path / "model.xml").iter("layer")}
    assert layers["relu"] == "ReLU"
    assert layers["pool"] == "MaxPool"
    assert layers["relu/fq_output_0"] == "FakeQuantize"


@pytest.mark.parametrize("reduction", ["ReduceMax", "ReduceMin"])
def test_an_int8_layer_behind_an_extreme_is_right(reduction: str, tmp_path: Path) -> None:
    """OpenVINO 2026.4 fuses rounding into the reduction: wrong by a tenth of the largest output."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(192, 15)).astype(np.float32)
    nodes = [
        helper.make_node(reduction, ["x", "axes"], ["most"], "most", keepdims=0),
        helper.make_node("MatMul", ["most", "w"], ["y"], "layer"),
    ]
    held = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("w", FLOAT, weights.shape, weights.tobytes(), raw=True),
    ]
    border = [
        helper.make_tensor_value_info(name, FLOAT, shape)
        for name, shape in (("x", [None, 24, 192]), ("y", [None, 15]))
    ]
    graph = helper.make_graph(nodes, "g", border[:1], border[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = np.tanh(random.normal(size=(64, 24, 192))).astype(np.float32)
    compiled((model, {"x": x}), "int8-static", tmp_path)
    found = BACKEND.load(tmp_path, variant("int8-static")).run({"x": x})["y"]
    expected = (x.max(axis=1) if reduction == "ReduceMax" else x.min(axis=1)) @ weights
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_inputs_and_outputs_keep_their_names_dtypes_and_free_batch(tiny_bilstm: Case, tmp_path: Path) -> None:
    import openvino as ov

    compiled(tiny_bilstm, "int8-static", tmp_path)
    model = ov.Core().read_model(tmp_path / "model.xml")
    assert [(p.any_name, str(p.partial_shape)) for p in model.inputs] == [("tokens", "[?,16]")]
    assert model.inputs[0].element_type.to_dtype() == np.int64
    assert [(p.any_name, str(p.partial_shape)) for p in model.outputs] == [("logits", "[?,5]")]


def test_an_output_that_is_an_input_or_used_twice_keeps_its_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["middle"], "a"),
        helper.make_node("Neg", ["middle"], ["end"], "b"),
    ]
    values = {n: helper.make_tensor_value_info(n, FLOAT, ["batch", 2]) for n in ("x", "middle", "end")}
    graph = helper.make_graph(nodes, "made", [values["x"]], [values["end"], values["middle"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    BACKEND.compile(model, variant(), {}, tmp_path)
    made = BACKEND.load(tmp_path, variant()).run({"x": np.array([[-1, 2]], np.float32)})
    assert list(made) == ["end", "middle"]
    np.testing.assert_array_equal(np.asarray(made["end"], float), [[0, -2]])
    np.testing.assert_array_equal(np.asarray(made["middle"], float), [[0, 2]])


def test_outputs_of_one_run_outlive_the_next(tiny_cnn: Case, tmp_path: Path) -> None:
    runner = BACKEND.load(compiled(tiny_cnn, "float32", tmp_path), variant())
    first = runner.run({"image": tiny_cnn[1]["image"][:1]})["logits"]
    kept = first.copy()
    runner.run({"image": tiny_cnn[1]["image"][1:2]})
    np.testing.assert_array_equal(first, kept)


def test_float16_halves_the_weights(tiny_bilstm: Case, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("float32", "float16"):
        out = tmp_path / precision
        out.mkdir()
        compiled(tiny_bilstm, precision, out)
        sizes[precision] = (out / "model.bin").stat().st_size
    assert 0.5 <= sizes["float16"] / sizes["float32"] < 0.55


def test_int8_is_offered_for_recurrent_networks_where_it_is_smaller_than_half_precision() -> None:
    operators = {"Gather": 1, "LSTM": 1, "Gemm": 1}
    for words, offered in ((1000, False), (8000, True)):
        weights = {"Gather": 128 * words, "LSTM": 263_168, "Gemm": 2560}
        work = {"LSTM": 24 * 263_168, "Gemm": 2560}
        made = BACKEND.offers(Facts(operators, weights, work), load_target("server-cpu"))
        assert ("int8-static" in {o.precision for o in made}) is offered


def test_int8_really_is_int8(tiny_cnn: Case, tmp_path: Path) -> None:
    compiled(tiny_cnn, "int8-static", tmp_path)
    layers = list(ET.parse(tmp_path / "model.xml").iter("layer"))
    assert "FakeQuantize" in {layer.get("type") for layer in layers}
    stored = [d.get("element_type") for layer in layers for d in layer.iter("data")]
    assert "i8" in stored


def test_the_properties_beside_the_model_are_those_that_the_runner_uses(
    tiny_cnn: Case, tmp_path: Path
) -> None:
    compiled(tiny_cnn, "float32", tmp_path)
    told = json.loads((tmp_path / "properties.json").read_bytes())["CPU"]
    assert told == {
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_NUM_THREADS": "1",
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }


def test_all_unsupported_operators_are_named_at_once() -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], "determinant"),
        helper.make_node("Neg", ["a"], ["b"], "fine"),
        helper.make_node("Foo", ["b"], ["y"], "odd", domain="com.acme"),
    ]
    source = helper.make_tensor_value_info("x", FLOAT, ["batch", 3, 3])
    result = helper.make_tensor_value_info("y", FLOAT, ["batch"])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    graph = helper.make_graph(nodes, "made", [source], [result])
    found = BACKEND.check(helper.make_model(graph, opset_imports=opsets, ir_version=9), variant())
    assert [(f.node, f.op) for f in found] == [("determinant", "Det"), ("odd", "Foo")]
    assert all("no conversion" in f.reason and f.remedy for f in found)


def test_calibration_data_with_nan_is_named(tiny_cnn: Case, tmp_path: Path) -> None:
    image = tiny_cnn[1]["image"].copy()
    image[5, 0, 0, 0] = np.nan
    with pytest.raises(SprueError, match="'image' holds NaN or infinity"):
        BACKEND.compile(tiny_cnn[0], variant("int8-static"), {"image": image}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_index_beyond_the_table_does_not_crash(tiny_bilstm: Case, tmp_path: Path) -> None:
    runner = BACKEND.load(compiled(tiny_bilstm, "float32", tmp_path), variant())
    assert np.asarray(runner.run({"tokens": np.full((1, 16), 10**6)})["logits"]).shape == (1, 5)


def test_nothing_is_printed_logged_or_left_behind(
    tiny_cnn: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    out.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    handlers = logging.getLogger().handlers[:]
    compiled(tiny_cnn, "int8-static", out)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert list(temporary.iterdir()) == []
    assert sorted(p.name for p in out.iterdir()) == ["model.bin", "model.xml", "properties.json"]


@pytest.mark.slow
def test_compiling_loads_no_telemetry_and_says_nothing_in_a_process_of_its_own(
    tiny_cnn: Case, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "model.onnx").write_bytes(tiny_cnn[0].SerializeToString())
    np.savez(tmp_path / "samples.npz", allow_pickle=False, **tiny_cnn[1])
    script = """
import sys, numpy as np
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from sprue.backend import Variant, find
from sprue.graph import read_model
from sprue.target import load_target
variant = Variant(load_target("server-cpu"), "openvino", "int8-static")
samples = dict(np.load("samples.npz", allow_pickle=False))
find("openvino").compile(read_model(Path("model.onnx")), variant, samples, Path("out"))
import nncf.telemetry, nncf.telemetry.wrapper as wrapper
assert "openvino_telemetry" not in sys.modules
assert "torch" not in sys.modules
assert isinstance(wrapper.telemetry, wrapper.NNCFTelemetryStub)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


ANSWER = """
import sys, numpy, openvino
core = openvino.Core()
model = core.compile_model(core.read_model(sys.argv[1]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
numpy.save(sys.argv[3], model(numpy.load(sys.argv[2]))[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is an instruction set of x86")
def test_int8_gives_the_same_answers_with_avx2_alone(tiny_cnn: Case, tmp_path: Path) -> None:
    """oneDNN is told to use no instruction beyond AVX2; QEMU's Haswell gives the same, bit by bit."""
    made = compiled(tiny_cnn, "int8-static", tmp_path)
    np.save(tmp_path / "x.npy", tiny_cnn[1]["image"])
    answers = []
    for isa in ("AVX2", "ALL"):
        answer = tmp_path / f"{isa}.npy"
        subprocess.run(
            [sys.executable, "-c", ANSWER, str(made / "model.xml"), str(tmp_path / "x.npy"), str(answer)],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa},
            check=True,
        )
        answers.append(np.load(answer))
    np.testing.assert_allclose(answers[0], answers[1], rtol=0, atol=1e-6)


def test_a_layer_that_is_to_stay_in_float_is_not_quantized(tiny_cnn: Case, tmp_path: Path) -> None:
    def integer_weights(float_layers: tuple[str, ...]) -> int:
        wanted = replace(variant("int8-static"), float_layers=float_layers)
        model = Simplify().apply(tiny_cnn[0], {})
        out = tmp_path / str(len(float_layers))
        out.mkdir()
        BACKEND.compile(model, wanted, tiny_cnn[1], out)
        return (out / "model.xml").read_text().count('element_type="i8"')

    assert [integer_weights(layers) for layers in ((), ("conv",), ("conv", "gemm"))] == [2, 1, 0]
