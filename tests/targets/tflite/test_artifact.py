"""A .tflite file is untrusted: what is damaged or hostile is refused before the interpreter sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from sprue.targets.tflite.artifact import contents
from sprue.targets.tflite.flatbuffer import pack, read, schema, write
from sprue.targets.tflite.lower import lower

from sprue.errors import CheckError, SprueError

from .build import BACKEND, compiled, mobile, model, variant, weight

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")


def small() -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "k"], ["y"]),
    ]
    weights = {"w": weight(1, 4, 2, 3, 3), "b": weight(2, 4), "k": weight(3, 36, 5)}
    lowered = lower(model(nodes, {"x": [1, 2, 5, 5]}, ["y"], weights))
    lowered.inputs[0].signature = (-1, 2, 5, 5)
    made: bytes = pack(lowered.inputs, lowered.outputs, b"what it means")
    return made


FILE = small()


def test_what_we_wrote_is_read_back() -> None:
    held = contents(FILE, "f")
    assert [str(s) for s in held.inputs] == ["x: float32[1, 2, 5, 5]"]
    assert [str(s) for s in held.outputs] == ["y: float32[1, 5]"]
    assert held.operations == {"CONV_2D": 1, "FULLY_CONNECTED": 1, "RESHAPE": 1, "TRANSPOSE": 1}


@pytest.mark.parametrize("size", [0, 3, 8, 63, 200, len(FILE) // 2, len(FILE) - 16])
def test_a_truncated_file_is_refused(size: int) -> None:
    with pytest.raises(CheckError, match="damaged"):
        contents(FILE[:size], "f")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(FILE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes_are_refused_or_harmless_and_take_no_time(flips: list[tuple[int, int]]) -> None:
    data = bytearray(FILE)
    for place, value in flips:
        data[place] = value
    try:
        held = contents(bytes(data), "f")
    except CheckError:
        return
    assert held.outputs


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_behind_the_mark_are_refused(tail: bytes) -> None:
    with pytest.raises(CheckError):
        contents(b"\x1c\x00\x00\x00TFL3" + tail, "f")


def test_custom_and_flex_operations_are_refused_by_name() -> None:
    made, s = read(FILE), schema()
    made.operatorCodes[0].builtinCode = made.operatorCodes[0].deprecatedBuiltinCode = s.BuiltinOperator.CUSTOM
    made.operatorCodes[0].customCode = "FlexErf"
    with pytest.raises(CheckError, match="FlexErf is no TFLite builtin"):
        contents(write(made), "f")


@pytest.mark.parametrize(
    ("owner", "index", "field", "value"),
    [
        ("operators", 0, "inputs", [9999]),
        ("operators", 0, "opcodeIndex", 77),
        ("operators", 1, "outputs", [-1]),
        ("tensors", 1, "buffer", 55),
        ("tensors", 2, "shape", [-4, 2]),
        ("tensors", 2, "type", 99),
        ("tensors", 0, "shapeSignature", [-1, 2, 5]),
        ("tensors", 0, "shapeSignature", [-1, 2, 5, 6]),
    ],
)
def test_what_points_nowhere_is_refused(owner: str, index: int, field: str, value: object) -> None:
    made = read(FILE)
    setattr(getattr(made.subgraphs[0], owner)[index], field, value)
    with pytest.raises(CheckError, match="damaged"):
        contents(write(made), "f")


def test_metadata_that_point_nowhere_are_refused() -> None:
    made = read(FILE)
    made.metadata[0].buffer = 99
    with pytest.raises(CheckError, match="metadata without their buffer"):
        contents(write(made), "f")


def test_a_file_that_is_not_the_one_that_was_built_is_refused(tmp_path: Path) -> None:
    source = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["b", 4]}, ["y"], {"w": weight(1, 4, 3)}
    )
    compiled(source, "float32", {"x": weight(2, 5, 4)}, tmp_path)
    data = (tmp_path / "model.tflite").read_bytes()
    (tmp_path / "model.tflite").write_bytes(data.replace(weight(1, 4, 3).T.tobytes()[:8], b"\0" * 8))
    with pytest.raises(SprueError, match="not the one that was built"):
        BACKEND.load(tmp_path, variant("float32", mobile()))
