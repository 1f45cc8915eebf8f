"""Long products in parts: nearer to the truth, and only where float32's own rounding is the error."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper

from sprue.target import Precision

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
from .build import Arrays, compiled, lowered_runner, model, weight

TERMS = 3072


def perceptrons(terms: int = TERMS) -> tuple[ModelProto, Arrays]:
    """Two layers that read the same, one with a Relu; their sum."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["q"]),
        helper.make_node("Relu", ["q"], ["r"]),
        helper.make_node("MatMul", ["x", "v"], ["s"]),
        helper.make_node("Add", ["r", "s"], ["y"]),
    ]
    weights = {"w": weight(1, terms, 40), "b": weight(2, 40), "v": weight(3, terms, 40)}
    return model(nodes, {"x": ["batch", 7, terms]}, ["y"], weights), weights


def operations(folder: Path) -> Counter[str]:
    from sprue.targets.tflite.flatbuffer import read, schema

    names = {v: k for k, v in vars(schema().BuiltinOperator).items() if isinstance(v, int)}
    made = read((folder / "model.tflite").read_bytes())
    return Counter(names[made.operatorCodes[o.opcodeIndex].builtinCode] for o in made.subgraphs[0].operators)


def test_a_product_over_many_terms_is_off_by_half_as_much_in_parts(tmp_path: Path) -> None:
    source, weights = perceptrons()
    x = np.random.default_rng(4).standard_normal((3, 7, TERMS)).astype(np.float32)
    w, b, v = (weights[k].astype(np.float64) for k in ("w", "b", "v"))
    exact = np.maximum(x.astype(np.float64) @ w + b, 0) + x.astype(np.float64) @ v
    parts: NDArray[Any] = compiled(source, "float32", {"x": x}, tmp_path).run({"x": x})["y"]
    assert operations(tmp_path) == {"SPLIT": 1, "FULLY_CONNECTED": 12, "ADD": 11}
    fixed = ModelProto.FromString(source.SerializeToString())
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    whole: NDArray[Any] = lowered_runner(fixed).run({"x": x})["y"]
    assert np.square(parts - exact).sum() < 0.4 * np.square(whole - exact).sum()


def test_what_is_short_or_has_eight_bits_stays_whole(tmp_path: Path) -> None:
    cases: tuple[tuple[Precision, int], ...] = (
        ("float32", 1023),
        ("float16", TERMS),
        ("int8-dynamic", TERMS),
    )
    for precision, terms in cases:
        source, _ = perceptrons(terms)
        folder = tmp_path / precision
        folder.mkdir()
        compiled(source, precision, {}, folder)
        assert operations(folder)["FULLY_CONNECTED"] == 2


def test_an_embedding_that_is_also_the_head_is_in_the_file_once(tmp_path: Path) -> None:
    table = weight(1, 50, 1024)
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"]),
        helper.make_node("Transpose", ["table"], ["head"], perm=[1, 0]),
        helper.make_node("MatMul", ["e", "head"], ["y"]),
    ]
    source = model(nodes, {"x": [1, 4]}, ["y"], {"table": table}, dtype=7)
    compiled(source, "float32", {}, tmp_path)
    assert (tmp_path / "model.tflite").stat().st_size < 1.1 * table.nbytes
