"""The Android module and the iOS pod around a .tflite file.

The Kotlin class is compiled against the signatures in `android/` and run on a JVM, with LiteRT for Python
behind them. Debian has no compiler for Swift, no CocoaPods and no Gradle that knows Kotlin: the Swift class
and the Gradle file are parsed with tree-sitter's grammars, and Ruby runs the podspec.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sprue import description
from sprue.description import Description, Meaning
from sprue.load import integers, reals

from .build import BACKEND, mobile, variant, weight
from .test_quantize import vision

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
SIGNATURES = Path(__file__).with_name("android")
KOTLINC = os.environ.get("SPRUE_KOTLINC") or shutil.which("kotlinc") or ""
SAID = Description(
    "Tiny net!",
    'one "$x" */ /* \\(y) #{z}',
    ("MIT",),
    {"x/0": Meaning("loudness", "dB", (0.0,), (2.0,))},
    {"y": Meaning(labels=("cat", "dög", ""))},
)
INTERPRET = """
import pathlib, sys, numpy as np
from ai_edge_litert.interpreter import Interpreter
folder, threads = pathlib.Path(sys.argv[1]), int(sys.argv[2])
made = Interpreter(model_path=str(folder / "model.tflite"), num_threads=threads)
made.allocate_tensors()
for i, d in enumerate(made.get_input_details()):
    made.set_tensor(d["index"], np.fromfile(folder / f"in{i}", d["dtype"]).reshape(d["shape"]))
made.invoke()
for i, d in enumerate(made.get_output_details()):
    made.get_tensor(d["index"]).tofile(folder / f"out{i}")
"""


BYTES = """
public final class Bytes {
    public static void main(String[] arguments) {
        final byte[] stored = sprue.vision.Model.imageFromFloats(new float[] { %s });
        final float[] real = sprue.vision.Model.logitsToFloats(stored);
        for (int i = 0; i < stored.length; ++i) {
            System.out.println(stored[i] + " " + real[i]);
        }
    }
}
"""
REAL = np.array([-1e9, -0.7, 0, 0.013, 1.5, 2.9, 1e9], np.float32)


def int8_border(out: Path) -> tuple[Any, Path]:
    """The border and the Kotlin class of a model that takes and gives int8."""
    source, samples = vision()
    chosen = replace(variant("int8-static"), border="int8")
    out.mkdir()
    description.write(Description("vision").to_json(), source)
    BACKEND.compile(source, chosen, samples, out)
    report = json.loads((out / "report.json").read_bytes())
    return report["border"], out / "android/src/main/kotlin/sprue/vision/Model.kt"


POD = """
require "json"
module Pod
  class Spec
    def initialize
      @said = {}
      yield self
      puts JSON.generate(@said)
    end
    def method_missing(name, *given)
      @said[name.to_s.delete_suffix("=")] = given
    end
  end
end
load File.expand_path(ARGV[0])
"""
"""CocoaPods' Pod::Spec, which only remembers what it is told."""


def network() -> ModelProto:
    """x/0 float32 [1, 2], ids int64 [1, 2], mask bool [1, 2] -> y [1, 3], twice [1, 2], in [1, 2]."""
    kinds = {"x/0": TensorProto.FLOAT, "ids": TensorProto.INT64, "mask": TensorProto.BOOL}
    made = {"y": TensorProto.FLOAT, "twice": TensorProto.INT64, "in": TensorProto.BOOL}
    nodes = [
        helper.make_node("MatMul", ["x/0", "w"], ["y"]),
        helper.make_node("Add", ["ids", "ids"], ["twice"]),
        helper.make_node("Not", ["mask"], ["in"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, k, [1, 2]) for n, k in kinds.items()],
        [helper.make_tensor_value_info(n, k, [1, 3 if n == "y" else 2]) for n, k in made.items()],
        [numpy_helper.from_array(weight(1, 2, 3), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def built(out: Path, model: ModelProto, said: Description = SAID, *features: str) -> Path:
    out.mkdir()
    chosen = variant("float32", mobile(*features))
    for change in BACKEND.passes(chosen):
        model = change.apply(model, {})
    description.write(said.to_json(), model)
    BACKEND.compile(model, chosen, {}, out)
    return out


def test_the_artifact_is_an_android_module_and_a_pod(tmp_path: Path) -> None:
    out = built(tmp_path / "a", network())
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert files == {
        "model.tflite",
        "report.json",
        "y_labels.txt",
        "SprueTinyNet.podspec",
        "ios/Model.swift",
        "android/build.gradle.kts",
        "android/src/main/AndroidManifest.xml",
        "android/src/main/kotlin/sprue/tiny_net/Model.kt",
    }
    again = built(tmp_path / "b", network())
    assert all((again / name).read_bytes() == (out / name).read_bytes() for name in files)
    sha = json.loads((out / "report.json").read_bytes())["sha256"]
    for source in ("android/src/main/kotlin/sprue/tiny_net/Model.kt", "ios/Model.swift"):
        assert sha in (out / source).read_text()


def test_a_target_with_the_old_runtime_gets_projects_that_depend_on_it(tmp_path: Path) -> None:
    new, old = built(tmp_path / "a", network()), built(tmp_path / "b", network(), SAID, "tflite-runtime")
    assert "com.google.ai.edge.litert:litert:" in (new / "android/build.gradle.kts").read_text()
    assert "org.tensorflow:tensorflow-lite:2.14.0" in (old / "android/build.gradle.kts").read_text()


def test_types_that_the_interfaces_lack_make_no_project_and_the_report_says_so(tmp_path: Path) -> None:
    model = network()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight(1, 2, 3).astype("float16"), "w"))
    out = built(tmp_path / "a", model)
    assert not (out / "android").exists()
    assert "have no float16: 'x/0'" in json.loads((out / "report.json").read_bytes())["no_projects"]


@pytest.mark.parametrize(
    ("grammar", "name", "right", "wrong"),
    [
        ("tree_sitter_swift", "ios/Model.swift", b"throws", b"throw("),
        ("tree_sitter_kotlin", "android/build.gradle.kts", b"namespace =", b"namespace = ="),
    ],
)
def test_what_no_compiler_here_takes_has_no_syntax_error(
    grammar: str, name: str, right: bytes, wrong: bytes, tmp_path: Path
) -> None:
    language = pytest.importorskip(grammar, reason=f"needs {grammar}").language()
    import tree_sitter

    parser = tree_sitter.Parser(tree_sitter.Language(language))
    text = (built(tmp_path / "a", network()) / name).read_bytes()
    assert not parser.parse(text).root_node.has_error
    assert parser.parse(text.replace(right, wrong, 1)).root_node.has_error


@pytest.mark.skipif(shutil.which("ruby") is None, reason="needs ruby")
def test_the_podspec_says_what_is_in_the_folder(tmp_path: Path) -> None:
    out = built(tmp_path / "a", network())
    said = json.loads(run(["ruby", "--disable-gems", "-e", POD, "SprueTinyNet.podspec"], out))
    assert said["name"] == ["SprueTinyNet"]
    assert said["summary"] == ["one ??x? */ /* ?(y) ?{z}"]  # as it stands in Kotlin and Swift
    assert said["license"] == [{"type": "MIT"}]
    assert [p.name for p in out.glob(said["source_files"][0])] == ["Model.swift"]
    bundled = said["resource_bundles"][0]["SprueTinyNet"]
    assert {p.name for pattern in bundled for p in out.glob(pattern)} == {"model.tflite", "y_labels.txt"}
    assert said["dependency"][0] == "TensorFlowLiteSwift"


@pytest.mark.slow
@pytest.mark.skipif(
    not KOTLINC or shutil.which("javac") is None, reason="needs kotlinc (SPRUE_KOTLINC) and a JDK"
)
def test_the_kotlin_class_compiles_and_gives_what_the_file_computes(tmp_path: Path) -> None:
    out = built(tmp_path / "a", network())
    classes, assets = tmp_path / "classes", tmp_path / "assets" / "sprue" / "tiny_net"
    classes.mkdir()
    assets.mkdir(parents=True)
    for name in ("model.tflite", "y_labels.txt"):  # what the module's copyModel does
        shutil.copy(out / name, assets)
    signatures = sorted(SIGNATURES.glob("*/**/*.java"))
    run(["javac", "-d", classes, *signatures])
    kotlin = out / "android/src/main/kotlin/sprue/tiny_net/Model.kt"
    border, with_bytes = int8_border(tmp_path / "b")
    jar = tmp_path / "model.jar"
    said = run([KOTLINC, "-Werror", kotlin, with_bytes, "-cp", classes, "-include-runtime", "-d", jar])
    assert "warning" not in said
    path = os.pathsep.join(map(str, (classes, jar)))
    (tmp_path / "Bytes.java").write_text(BYTES % ", ".join(f"{value:.9e}f" for value in REAL))
    run(["javac", "-cp", path, "-d", classes, SIGNATURES / "Main.java", tmp_path / "Bytes.java"])
    stored = integers({"image": REAL}, border["inputs"])["image"]
    real = reals({"logits": stored}, border["outputs"])["logits"]
    converted = [line.split() for line in run(["java", "-cp", path, "Bytes"]).splitlines()]
    assert [(int(a), np.float32(b)) for a, b in converted] == [*zip(stored, real, strict=True)]
    properties = {"python": sys.executable, "script": INTERPRET, "assets": str(tmp_path / "assets")}
    command = ["java", *(f"-D{k}={v}" for k, v in properties.items()), "-cp", path, "Main"]
    *rows, labels, refused = run(command).splitlines()
    runner = BACKEND.load(out, variant("float32"))
    for first, row in zip((1.5, -2.0), rows, strict=True):
        made = runner.run(
            {
                "x/0": np.array([[first, 0.25]], np.float32),
                "ids": np.array([[1 << 40, -3]], np.int64),
                "mask": np.array([[True, False]]),
            }
        )
        numbers = [json.loads(f"[{part}]") for part in row.strip("[]").split("][")]
        assert np.array_equal(np.array(numbers[0], np.float32), made["y"][0])
        assert numbers[1:] == [[1 << 41, -6], [False, True]]
    assert labels == "[cat, dög, ]"
    assert refused == "x/0: 2 numbers, not 3"


def run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr if command[0] == KOTLINC else done.stdout
