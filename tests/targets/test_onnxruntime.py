"""What onnxruntime's backend adds to the contract: which operators lack a kernel, what it refuses to load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue.backend import Variant, find
from sprue.errors import SprueError
from sprue.graph import read_model, serialise
from sprue.target import Precision, Target, load_target

Samples = dict[str, NDArray[Any]]
Case = tuple[ModelProto, Samples]
BACKEND = find("onnxruntime")
FLOAT = TensorProto.FLOAT


def variant(precision: Precision = "float32", **changed: Any) -> Variant:
    known = load_target("server-cpu").to_json()
    return Variant(Target.from_json({**known, **changed}), "onnxruntime", precision)


def compiled(case: Case, precision: Precision, out: Path) -> Path:
    model = case[0]
    for change in BACKEND.passes(variant(precision)):
        model = change.apply(model, case[1])
    BACKEND.compile(model, variant(precision), case[1], out)
    return out


def written(model: ModelProto, out: Path) -> Path:
    (out / "model.onnx").write_bytes(serialise(model))
    return out


def copy_of(model: ModelProto) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(model)
    return made


def test_the_artifact_is_one_file_of_standard_onnx(tiny_cnn: Case, tmp_path: Path) -> None:
    for precision in ("float32", "int8-static"):
        out = tmp_path / precision
        out.mkdir()
        compiled(tiny_cnn, precision, out)
        assert [p.name for p in out.iterdir()] == ["model.onnx"]
        assert {o.domain for o in read_model(out / "model.onnx").opset_import} == {""}


def test_static_int8_has_unsigned_activations_and_weights_whose_pairs_cannot_saturate(
    tiny_cnn: Case, tmp_path: Path
) -> None:
    """Without VNNI x86 adds two products of uint8 and int8 in 16 bits: 255 * 128 is the most that fits."""
    made = read_model(compiled(tiny_cnn, "int8-static", tmp_path) / "model.onnx")
    constants = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    zeros = [constants[n.input[2]] for n in made.graph.node if n.op_type == "QuantizeLinear"]
    assert {z.dtype for z in zeros} == {np.dtype(np.uint8)}
    kernels = [c for c in constants.values() if c.dtype == np.int8 and c.ndim > 1]
    assert kernels
    for kernel in kernels:
        flat = kernel.reshape(len(kernel), -1).astype(int)
        even = flat.shape[1] // 2 * 2
        one, other = flat[:, 0:even:2], flat[:, 1:even:2]
        together = np.where(one * other > 0, np.abs(one + other), 0)
        assert int(together.max()) <= 128


def test_a_dynamically_quantized_sample_does_not_depend_on_its_neighbours(
    tiny_bilstm: Case, tmp_path: Path
) -> None:
    tokens = tiny_bilstm[1]["tokens"]
    runner = BACKEND.load(compiled(tiny_bilstm, "int8-dynamic", tmp_path), variant("int8-dynamic"))
    alone = runner.run({"tokens": tokens[:1]})["logits"]
    for neighbours in (tokens[1:9], tokens[9:20]):
        together = runner.run({"tokens": np.concatenate([tokens[:1], neighbours])})["logits"]
        np.testing.assert_array_equal(together[:1], alone)


def test_a_batch_that_the_model_fixes_is_filled_up_and_cut(tiny_cnn: Case, tmp_path: Path) -> None:
    from sprue.passes.simplify import Simplify

    image = tiny_cnn[1]["image"]
    whole = BACKEND.load(compiled(tiny_cnn, "float32", tmp_path), variant()).run({"image": image[:10]})
    BACKEND.compile(Simplify(batch=4).apply(tiny_cnn[0], {}), variant(), {}, tmp_path)
    made = BACKEND.load(tmp_path, variant()).run({"image": image[:10]})
    assert made["logits"].shape == (10, 10)
    np.testing.assert_allclose(
        np.asarray(made["logits"], float), np.asarray(whole["logits"], float), atol=1e-5
    )


def test_no_samples_give_empty_outputs_of_the_right_shape(tiny_cnn: Case, tmp_path: Path) -> None:
    runner = BACKEND.load(compiled(tiny_cnn, "float32", tmp_path), variant())
    made = runner.run({"image": tiny_cnn[1]["image"][:0]})["logits"]
    assert made.shape == (0, 10)
    assert made.dtype == np.dtype(np.float32)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "takes the inputs image"),
        ({"picture": np.zeros((1, 1, 8, 8), np.float32)}, "it was given picture"),
        ({"image": np.zeros((1, 1, 8, 8), np.float64)}, "float64"),
        ({"image": np.zeros((1, 1, 9, 8), np.float32)}, r"\[1, 1, 9, 8\]"),
        ({"image": np.zeros((1, 8, 8), np.float32)}, r"\[1, 8, 8\]"),
        ({"image": np.float32(0)}, r"float32\[\]"),
    ],
)
def test_inputs_that_do_not_fit_are_named(
    tiny_cnn: Case, tmp_path: Path, inputs: Samples, message: str
) -> None:
    runner = BACKEND.load(compiled(tiny_cnn, "float32", tmp_path), variant())
    with pytest.raises(SprueError, match=message):
        runner.run(inputs)


def test_every_operator_without_a_kernel_is_found_not_only_the_first() -> None:
    nodes = [
        helper.make_node("Acos", ["x"], ["a"], "first"),  # onnxruntime has it for float only
        helper.make_node("Neg", ["a"], ["b"], "fine"),
        helper.make_node("Acos", ["b"], ["c"], "second"),
        helper.make_node("Foo", ["c"], ["y"], "third", domain="com.acme"),
    ]
    border = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["batch", 3]) for n in ("x", "y")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    graph = helper.make_graph(nodes, "made", border[:1], border[1:])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    found = BACKEND.check(model, variant())
    assert [(f.node, f.op) for f in found] == [("first", "Acos"), ("second", "Acos"), ("third", "Foo")]
    assert "Could not find an implementation" in found[0].reason


def test_a_precision_that_would_change_nothing_is_a_finding() -> None:
    border = [helper.make_tensor_value_info(n, FLOAT, ["batch", 3]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "made", border[:1], border[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for precision in ("int8-dynamic", "int8-static"):
        assert [f.kind for f in BACKEND.check(model, variant(precision))] == ["precision"]
    assert BACKEND.check(model, variant("float32")) == []


def test_what_only_stores_a_table_has_8_bit_weights_and_no_other_int8() -> None:
    table = numpy_helper.from_array(np.ones((50, 8), np.float32), "table")
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"], "look up")]
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])
    y = helper.make_tensor_value_info("y", FLOAT, ["n", 8])
    graph = helper.make_graph(nodes, "g", [x], [y], [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert BACKEND.check(model, variant("int8-weights")) == []
    assert [f.kind for f in BACKEND.check(model, variant("int8-static"))] == ["precision"]


def test_weights_that_cannot_fit_are_a_finding_before_anything_is_compiled(tiny_cnn: Case) -> None:
    size = sum(numpy_helper.to_array(t).size for t in tiny_cnn[0].graph.initializer)
    assert BACKEND.check(tiny_cnn[0], variant("float32", limit_flash=4 * size)) == []
    finding = BACKEND.check(tiny_cnn[0], variant("float32", limit_flash=4 * size - 1))[0]
    assert finding.kind == "limit"
    assert str(4 * size) in finding.reason
    assert BACKEND.check(tiny_cnn[0], variant("int8-static", limit_flash=4 * size - 1)) == []


def test_the_profile_is_the_size_of_the_file(tiny_cnn: Case, tmp_path: Path) -> None:
    runner = BACKEND.load(compiled(tiny_cnn, "float32", tmp_path), variant())
    assert runner.profile().flash == (tmp_path / "model.onnx").stat().st_size


def test_another_kind_of_machine_is_only_stood_in_for(tiny_cnn: Case, tmp_path: Path) -> None:
    compiled(tiny_cnn, "float32", tmp_path)
    assert BACKEND.load(tmp_path, variant(arch="any")).execution == "native"
    assert BACKEND.load(tmp_path, variant(arch="riscv32")).execution == "stand-in"


def test_a_tensor_in_another_file_is_refused(
    tiny_cnn: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where ONNX's checker, which looks into the working folder, is content
    model = copy_of(tiny_cnn[0])
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="secret")
    tensor.ClearField("raw_data")
    with pytest.raises(SprueError, match=r"'kernel' lies outside the file"):
        BACKEND.load(written(model, tmp_path), variant())


def test_a_tensor_in_another_file_is_refused_inside_a_branch_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"\0" * 4096)

    def branch(name: str) -> onnx.GraphProto:
        value = numpy_helper.from_array(np.ones(2, np.float32), name)
        onnx.external_data_helper.set_external_data(value, location="secret")
        value.ClearField("raw_data")
        result = helper.make_tensor_value_info(name, FLOAT, [2])
        node = helper.make_node("Constant", [], [name], f"make_{name}")
        node.attribute.append(helper.make_attribute("value", value))
        return helper.make_graph([node], name, [], [result])

    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    result = helper.make_tensor_value_info("y", FLOAT, [2])
    graph = helper.make_graph([node], "made", [flag], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(SprueError, match=r"'[ab]' lies outside the file"):
        BACKEND.load(written(model, tmp_path), variant())


@pytest.mark.parametrize(("domain", "op"), [("com.microsoft", "EPContext"), ("com.acme", "Run")])
def test_an_operator_that_could_reach_outside_is_refused(
    tiny_cnn: Case, tmp_path: Path, domain: str, op: str
) -> None:
    model = copy_of(tiny_cnn[0])
    model.graph.node[2].op_type, model.graph.node[2].domain = op, domain
    model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(SprueError, match=op):
        BACKEND.load(written(model, tmp_path), variant())


def test_nothing_is_reported_to_the_maker_of_onnxruntime(tmp_path: Path) -> None:
    """Its telemetry leaves an identifier and an event database in the cache folder."""
    script = "import sprue, onnxruntime as ort; ort.get_available_providers(); ort.SessionOptions()"
    kept = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS")}
    environment = {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []


def test_a_model_that_fails_while_running_is_an_error_of_ours(tmp_path: Path) -> None:
    node = helper.make_node("Gather", ["table", "i"], ["y"], "lookup")
    table = numpy_helper.from_array(np.ones((3, 2), np.float32), "table")
    source = helper.make_tensor_value_info("i", TensorProto.INT64, ["batch"])
    result = helper.make_tensor_value_info("y", FLOAT, ["batch", 2])
    graph = helper.make_graph([node], "made", [source], [result], [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    BACKEND.compile(model, variant(), {}, tmp_path)
    with pytest.raises(SprueError, match="failed while running"):
        BACKEND.load(tmp_path, variant()).run({"i": np.array([7])})
