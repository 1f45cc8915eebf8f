"""Any number of samples at a time, where the graph allows it; else one, and the report says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from sprue.target import Precision

from .build import BACKEND, Arrays, compiled, model, reference, variant, weight, worst
from .test_lowering import encoder, network

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
node = helper.make_node
LIMITS: dict[Precision, float] = {
    "float32": 2e-6, "float16": 2e-3, "int8-dynamic": 0.05, "int8-static": 0.1,
}  # fmt: skip


def at_once(file: Path, samples: Arrays) -> Arrays:
    """All samples in one run of an interpreter whose inputs were resized."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=file.read_bytes(), num_threads=1)
    for d in made.get_input_details():
        assert d["shape_signature"][0] == -1
        made.resize_tensor_input(d["index"], list(samples[d["name"]].shape), strict=True)
    made.allocate_tensors()
    for d in made.get_input_details():
        made.set_tensor(d["index"], samples[d["name"]])
    made.invoke()
    return {d["name"]: made.get_tensor(d["index"]) for d in made.get_output_details()}


def batch_of(out: Path) -> Any:
    return json.loads((out / "report.json").read_bytes())["batch"]


def recurrent(kind: str) -> ModelProto:
    """x [n, 5, 3] -> y [n, 2 * 4]: as torch writes it, the initial states made of zeros for the batch."""
    gates = {"LSTM": 4, "GRU": 3}[kind]
    weights: Arrays = {
        "W": weight(1, 2, gates * 4, 3), "R": weight(2, 2, gates * 4, 4), "B": weight(3, 2, gates * 8),
        "two": np.array([2]), "four": np.array([4]), "flat": np.array([0, -1]), "axis": np.array([1]),
    }  # fmt: skip
    states = ["h", "h"] if kind == "LSTM" else ["h"]
    nodes = [
        node("Shape", ["x"], ["n"], start=0, end=1),
        node("Concat", ["two", "n", "four"], ["size"], axis=0),
        node("ConstantOfShape", ["size"], ["h"]),
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node(
            kind, ["t", "W", "R", "B", "", *states], ["all", "end"], hidden_size=4, direction="bidirectional"
        ),
        node("Transpose", ["all"], ["turned"], perm=[2, 0, 1, 3]),
        node("Transpose", ["end"], ["last"], perm=[1, 0, 2]),
        node("ReduceMax", ["turned"], ["most"], axes=[1], keepdims=0),
        node("Add", ["most", "last"], ["sum"]),
        node("Reshape", ["sum", "flat"], ["y"]),
    ]
    return model(nodes, {"x": ["n", 5, 3]}, ["y"], weights)


CASES: dict[str, tuple[ModelProto, tuple[int, ...]]] = {
    "image": (network(), (5, 3, 9, 11)),
    "attention": (encoder(), (5, 6, 16)),
    "LSTM": (recurrent("LSTM"), (5, 5, 3)),
    "GRU": (recurrent("GRU"), (5, 5, 3)),
}


@pytest.mark.parametrize("precision", [*LIMITS])
@pytest.mark.parametrize("kind", [*CASES])
def test_a_file_takes_as_many_samples_as_it_is_resized_to(
    kind: str, precision: Precision, tmp_path: Path
) -> None:
    source, shape = CASES[kind]
    samples: Arrays = {"x": weight(3, *shape) * np.float32(3)}
    one_by_one = compiled(source, precision, samples, tmp_path).run(samples)
    assert batch_of(tmp_path) == "any"
    file = tmp_path / BACKEND.entry(variant(precision))
    made = at_once(file, samples)
    assert worst(made, one_by_one) < 1e-6
    assert worst(made, reference(source, samples)) < LIMITS[precision]
    assert worst(at_once(file, {"x": samples["x"][:2]}), {k: v[:2] for k, v in one_by_one.items()}) < 1e-6


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([node("Slice", ["x", "zero", "two", "zero"], ["y"])], "more samples take other operations"),
        ([node("Flatten", ["x"], ["y"], axis=0)], "has no axis of samples"),
        ([node("Shape", ["x"], ["s"]), node("Cast", ["s"], ["y"], to=1)], "in a constant"),
    ],
)
def test_what_means_something_else_for_more_samples_stays_at_one(
    nodes: list[Any], why: str, tmp_path: Path
) -> None:
    weights: Arrays = {"zero": np.array([0]), "two": np.array([2])}
    source = model(nodes, {"x": ["n", 4]}, ["y"], weights)
    compiled(source, "float32", {"x": weight(1, 1, 4)}, tmp_path)
    assert batch_of(tmp_path).startswith("1: ")
    assert why in batch_of(tmp_path)


def test_a_model_for_one_sample_stays_one(tmp_path: Path) -> None:
    source = model([node("Relu", ["x"], ["y"])], {"x": [1, 4]}, ["y"])
    compiled(source, "float32", {"x": weight(1, 1, 4)}, tmp_path)
    assert batch_of(tmp_path) == "1: the model takes one sample itself"
