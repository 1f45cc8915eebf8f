"""Files with int8 at their border, as LiteRT itself takes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprue.border import integers
from sprue.load import reals

from .build import BACKEND, reference, variant, worst
from .test_batch import at_once
from .test_quantize import speech, vision

pytest.importorskip("ai_edge_quantizer", reason="needs the extra sprue[mobile]")
INT8 = replace(variant("int8-static"), border="int8")


def contents(out: Path) -> Any:
    return json.loads((out / "report.json").read_bytes())


def test_litert_takes_and_gives_int8_for_any_batch_and_the_contract_says_which(tmp_path: Path) -> None:
    source, samples = vision()
    BACKEND.compile(source, INT8, samples, tmp_path)
    border = BACKEND.contract(tmp_path, INT8).border
    assert border is not None
    from ai_edge_litert.interpreter import Interpreter

    file = Interpreter(model_path=str(tmp_path / "model.tflite"))
    for details, edges in (
        (file.get_input_details(), border.inputs),
        (file.get_output_details(), border.outputs),
    ):
        for d in details:
            edge = edges[d["name"]]
            assert (edge.dtype, np.dtype(d["dtype"])) == ("int8", np.int8)
            assert (edge.scale, edge.zero_point) == tuple(map(float, d["quantization"]))
    assert not {"QUANTIZE", "DEQUANTIZE"} & contents(tmp_path)["operations"].keys()
    stored = at_once(tmp_path / "model.tflite", integers(samples, border))
    assert stored["logits"].dtype == np.int8
    made = BACKEND.load(tmp_path, INT8).run(samples)
    np.testing.assert_array_equal(made["logits"], reals(stored, border.to_json()["outputs"])["logits"])
    assert worst(made, reference(source, samples)) < 0.1


def test_tokens_stay_integers_of_their_own_and_logits_become_int8(tmp_path: Path) -> None:
    source, samples = speech()
    BACKEND.compile(source, INT8, samples, tmp_path)
    border = contents(tmp_path)["border"]
    assert border["inputs"] == {"tokens": {"dtype": "int64"}}
    assert border["outputs"]["logits"]["dtype"] == "int8"
    made = BACKEND.load(tmp_path, INT8).run(samples)
    assert worst(made, reference(source, samples)) < 0.1


def test_an_input_of_a_layer_that_stays_in_float_stays_float(tmp_path: Path) -> None:
    source, samples = vision()
    source.graph.node[0].name = "first"
    mixed = replace(INT8, float_layers=("first",))
    BACKEND.compile(source, mixed, samples, tmp_path)
    border = BACKEND.contract(tmp_path, mixed).border
    assert border is not None
    assert border.inputs["image"].to_json() == {"dtype": "float32"}
    note = BACKEND.load(tmp_path, mixed).profile().notes["border"]
    assert note.startswith("takes image: float32; gives logits: int8 (scale ")


def test_the_projects_have_functions_to_and_from_real_numbers(tmp_path: Path) -> None:
    swift = pytest.importorskip("tree_sitter_swift", reason="needs tree-sitter-swift")
    import tree_sitter

    source, samples = vision()
    BACKEND.compile(source, INT8, samples, tmp_path)
    text = (tmp_path / "ios/Model.swift").read_bytes()
    parser = tree_sitter.Parser(tree_sitter.Language(swift.language()))
    assert not parser.parse(text).root_node.has_error
    scale = str(np.float32(contents(tmp_path)["border"]["inputs"]["image"]["scale"]))
    (kotlin,) = tmp_path.glob("android/src/main/kotlin/sprue/*/Model.kt")
    for said in (text.decode(), kotlin.read_text()):
        assert "imageFromFloats" in said
        assert "logitsToFloats" in said
        assert scale in said


def test_a_report_that_lies_about_the_border_is_refused(tmp_path: Path) -> None:
    from sprue.errors import CheckError

    source, samples = vision()
    BACKEND.compile(source, INT8, samples, tmp_path)
    report = contents(tmp_path)
    report["border"]["inputs"]["image"]["scale"] = 0
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(CheckError, match="missing or damaged"):
        BACKEND.load(tmp_path, INT8)
