"""Names, units, normalisation and labels in the file itself, read back by tflite-support's own reader."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sprue import description
from sprue.description import Description, Meaning
from sprue.target import Precision

from .build import BACKEND, Arrays, model, variant, weight

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
from onnx.helper import make_node

PYTHON = os.environ.get("SPRUE_TFLITE_SUPPORT_PYTHON", "")
READ = """
import json, sys
from tflite_support import metadata
shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
files = {n: shown.get_associated_file_buffer(n).decode() for n in shown.get_packed_associated_file_list()}
print(json.dumps([json.loads(shown.get_metadata_json()), files]))
"""
SAID = Description(
    "tiny",
    "a tïny net",
    ("MIT", "Apache-2.0"),
    {"x": Meaning("loudness", "dB", (1.5, 2.0), (0.5, 4.0))},
    {"y": Meaning("scores", labels=("cat", "dög"))},
)


def built(out: Path, precision: Precision = "float32", said: Description = SAID) -> Path:
    """A net x [1, 2] -> y [1, 2] with a further output that nobody described."""
    out.mkdir()
    nodes = [make_node("MatMul", ["x", "w"], ["y"]), make_node("Relu", ["y"], ["more"])]
    network = model(nodes, {"x": [1, 2]}, ["y", "more"], {"w": weight(1, 2, 2)})
    samples: Arrays = {"x": weight(2, 8, 2)}
    chosen = variant(precision)
    for change in BACKEND.passes(chosen):
        network = change.apply(network, samples)
    description.write(said.to_json(), network)
    BACKEND.compile(network, chosen, samples, out)
    assert set(BACKEND.load(out, chosen).run({"x": samples["x"][:1]})) == {"y", "more"}
    return out / BACKEND.entry(chosen)


def read(path: Path) -> Any:
    done = subprocess.run([PYTHON, "-I", "-c", READ, path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_labels_are_a_file_behind_the_model_and_the_bytes_are_always_the_same(tmp_path: Path) -> None:
    files = [built(tmp_path / name) for name in ("a", "b")]
    with zipfile.ZipFile(files[0]) as archive:
        assert archive.namelist() == ["y_labels.txt"]
        assert archive.read("y_labels.txt").decode() == "cat\ndög\n"
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_model_without_labels_has_no_archive_behind_it(tmp_path: Path) -> None:
    assert not zipfile.is_zipfile(built(tmp_path / "a", said=Description("tiny")))


def test_a_model_of_which_nothing_is_said_has_no_metadata(tmp_path: Path) -> None:
    named, nameless = (built(tmp_path / f"_{n}", said=Description(n)).read_bytes() for n in ("tiny", ""))
    assert b"TFLITE_METADATA" in named
    assert b"TFLITE_METADATA" not in nameless


@pytest.mark.skipif(not PYTHON, reason="SPRUE_TFLITE_SUPPORT_PYTHON names no Python with tflite-support")
@pytest.mark.parametrize("precision", ["float32", "int8-dynamic"])
def test_tflite_support_reads_what_was_said(precision: Precision, tmp_path: Path) -> None:
    found, files = read(built(tmp_path / "a", precision))
    assert files == {"y_labels.txt": "cat\ndög\n"}
    assert (found["name"], found["description"], found["license"]) == (
        "tiny",
        "a tïny net",
        "MIT, Apache-2.0",
    )
    (graph,) = found["subgraph_metadata"]
    (x,), (y, more) = graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    assert (x["name"], x["description"]) == ("x", "loudness (dB)")
    assert x["process_units"] == [
        {"options_type": "NormalizationOptions", "options": {"mean": [1.5, 2.0], "std": [0.5, 4.0]}}
    ]
    labels = {"name": "y_labels.txt", "description": "the labels of y", "type": "TENSOR_AXIS_LABELS"}
    assert (y["name"], y["description"], y["associated_files"]) == ("y", "scores", [labels])
    assert more["name"] == "more"
    assert not {"description", "associated_files", "process_units"} & set(more)
