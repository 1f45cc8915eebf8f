"""A source is untrusted: whatever a Python file or an ONNX file does, there comes a model or an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue import graph
from sprue.errors import SprueError
from sprue.graph import inputs, outputs, read_model, serialise
from sprue.source import call_source, checked

RIGHT = """
import onnx
from onnx import TensorProto, helper

def export():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
"""


def call(folder: Path, text: str, function: str = "export", timeout: float | None = 60) -> ModelProto:
    (folder / "train.py").write_text(text)
    return call_source(folder / "train.py", function, folder / "made.onnx", timeout)


def test_a_source_may_print_and_import_what_stands_beside_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "beside.py").write_text("import os\nNAME = os.path.basename(os.getcwd())\n")
    text = f"import beside, sys\nprint('x' * 100_000)\nprint('warning', file=sys.stderr)\n{RIGHT}"
    made = call(tmp_path, text)
    assert [str(t) for t in (*inputs(made), *outputs(made))] == ["x: float32[?, 2]", "y: float32[?, 2]"]
    assert "beside" not in sys.modules
    assert "warning" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def export(): raise ValueError('no data')", "the source failed: ValueError: no data"),
        ("def export(): return 3", "train.py:export returned int, not an onnx.ModelProto"),
        ("def export(): pass", "train.py:export returned NoneType"),
        ("def exprt(): pass", "train.py has no callable 'export'"),
        ("export = 3", "train.py has no callable 'export'"),
        ("def export(:", "the source failed: SyntaxError: "),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import sys\ndef export(): sys.exit(0)", "the source ended its process before it returned a model"),
        ("import sys\ndef export(): sys.exit(3)", "the source failed: exit code 3"),
        ("import sys\nsys.exit('out of luck')", "the source failed: out of luck"),
        ("import os\ndef export(): os._exit(0)", "the source ended its process before it returned a model"),
        ("import os\ndef export(): os.abort()", "the source's process was ended by SIGABRT"),
        ("import os\ndef export(): os.kill(os.getpid(), 9)", "the source's process was ended by SIGKILL"),
        ("def export():\n  export()", "RecursionError"),
        ("import onnx\ndef export(): return onnx.ModelProto()", "the ONNX graph is empty"),
        ("def export(): input()", "EOFError"),
    ],
)
def test_whatever_a_source_does_is_said_with_its_name(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SprueError) as caught:
        call(tmp_path, text)
    assert str(caught.value).startswith("train.py:export: ")
    assert words in str(caught.value)


def test_a_source_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(SprueError, match=r"train.py:export: it took longer than 0\.5 s"):
        call(tmp_path, "import time\ndef export(): time.sleep(60)", timeout=0.5)


def copied(model: ModelProto) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(model)
    return made


def test_a_model_is_stripped_of_what_changes_nothing(tiny_mlp: tuple[ModelProto, object]) -> None:
    noisy = copied(tiny_mlp[0])
    noisy.producer_name, noisy.doc_string, noisy.model_version = "someone", "words", 7
    noisy.metadata_props.add(key="path", value="/home/me")
    noisy.graph.doc_string = noisy.graph.node[0].doc_string = noisy.graph.input[0].doc_string = "words"
    noisy.graph.initializer[0].doc_string = "words"
    assert serialise(checked(noisy, "m")) == serialise(checked(tiny_mlp[0], "m"))


def refusal(model: ModelProto) -> str:
    with pytest.raises(SprueError) as caught:
        checked(model, "m.onnx")
    return str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_weights_that_are_no_numbers_are_refused(
    tiny_mlp: tuple[ModelProto, object], bad: float, kind: type
) -> None:
    model = copied(tiny_mlp[0])
    weight: NDArray[Any] = numpy_helper.to_array(model.graph.initializer[1]).astype(kind)
    weight[2, 1] = bad
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "second"))
    assert refusal(model).startswith(
        "m.onnx: the weight 'second' holds NaN or infinity\n  the training diverged"
    )


def test_constants_that_are_no_numbers_are_refused_as_weights_are(
    tiny_mlp: tuple[ModelProto, object],
) -> None:
    model = copied(tiny_mlp[0])
    nan = numpy_helper.from_array(np.full((8, 3), np.nan, np.float32))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["fixed"], "fixed", value=nan))
    model.graph.node[3].input[1] = "fixed"
    assert "'fixed' holds NaN or infinity" in refusal(model)


def test_the_batch_axis_is_free_or_one(tiny_mlp: tuple[ModelProto, object]) -> None:
    cases: list[tuple[list[str | int | None], str]] = [
        (["batch", 4], ""),
        ([1, 4], ""),
        ([20, 4], "exported for batches of 20"),
        ([], "no batch axis"),
    ]
    for dims, words in cases:
        model = copied(tiny_mlp[0])
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, dims))
        if words:
            assert words in refusal(model)
        else:
            checked(model, "m")


def test_inputs_and_outputs_are_tensors_of_numbers(tiny_mlp: tuple[ModelProto, object]) -> None:
    for field in ("input", "output"):
        for kind in (
            helper.make_tensor_type_proto(TensorProto.STRING, ["batch"]),
            helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch"])),
            helper.make_map_type_proto(
                TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
            ),
        ):
            model = copied(tiny_mlp[0])
            getattr(model.graph, field)[0].type.CopyFrom(kind)
            assert "is not a tensor of numbers" in refusal(model)


def read_or_refuse(path: Path) -> None:
    try:
        model = checked(read_model(path, "m.onnx"), "m.onnx")
        graph.weights(model)
        assert inputs(model)
    except SprueError as error:
        assert str(error).startswith("m.onnx: ")  # noqa: PT017


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_onnx_file_is_read_or_refused(
    data: st.DataObject, tiny_mlp: tuple[ModelProto, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(tiny_mlp[0].SerializeToString(deterministic=True))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))]))
    read_or_refuse(path)
    path.write_bytes(bytes(raw))
    read_or_refuse(path)


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=60))
def test_any_bytes_are_onnx_or_refused(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(raw)
    read_or_refuse(path)


def test_a_model_with_its_weights_elsewhere_is_refused(
    tiny_mlp: tuple[ModelProto, object], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 1000)
    model = copied(tiny_mlp[0])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "secret"), ("offset", "0"), ("length", "128")):
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SprueError) as caught:
        checked(read_model(tmp_path / "m.onnx", "m.onnx"), "m.onnx")
    assert str(caught.value).startswith("m.onnx: the tensor 'first' lies outside the file")
    assert "onnx.save(" in caught.value.remedy
