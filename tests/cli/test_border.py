"""`border = "int8"` from the recipe to the device: what is built, what ships, and what programs call."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sprue.bundle.check import check_bundle
from sprue.load import integers, reals
from sprue.rebuild import recipe_of

pytestmark = pytest.mark.slow
for package in ("ziglang", "unicorn", "ai_edge_litert", "ai_edge_quantizer"):
    pytest.importorskip(package, reason="needs the extras embedded and mobile")

Run = Callable[..., subprocess.CompletedProcess[str]]
DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits"
HERE = f"linux-{platform.machine().replace('_', '-')}"
REAL = np.array([-1e9, -0.25, 0, 0.5 / 255, 1.5 / 255, 2.5 / 255, 0.37, 1, 1e9], np.float32)
C = """#include <stdio.h>
#include "model.h"
int main(void)
{
    static const float real[] = { %s };
    for (unsigned i = 0; i < sizeof real / sizeof *real; ++i) {
        const int8_t stored = model_quantize_image(real[i]);
        (void)printf("%%d %%.9g\\n", stored, (double)model_dequantize_logits(stored));
    }
    return 0;
}
"""
JAVA = """
public class Main {
    public static void main(String[] arguments) {
        final byte[] stored = sprue.Model.imageFromFloats(new float[] { %s });
        final float[] real = sprue.Model.logitsToFloats(stored);
        for (int i = 0; i < stored.length; ++i) {
            System.out.println(stored[i] + " " + real[i]);
        }
    }
}
"""


@pytest.fixture(scope="module")
def targets(sprue: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`targets/` of a bundle of digits: a microcontroller, this machine and a phone, all with int8."""
    project = tmp_path_factory.mktemp("border")
    shutil.copytree(DIGITS, project / "models" / "digits")
    (project / "recipes").mkdir()
    names = ("cortex-m4", HERE, "mobile")
    tables = "".join(f'[target.{n}]\nprecision = "int8"\nborder = "int8"\n' for n in names)
    (project / "recipes" / "digits.toml").write_text(f'model = "digits"\n{tables}')
    done = sprue(project, "build", "recipes/digits.toml", "--json")
    assert done.returncode == 0, done.stderr
    bundle = next((project / "bundles" / "digits").glob("*-*/"))
    manifest = check_bundle(bundle).manifest
    assert {t.id: (t.state, t.variant) for t in manifest.targets} == {
        "cortex-m4": ("verified", "c-int8-static-int8-border"),
        HERE: ("verified", "c-int8-static-int8-border"),
        "mobile": ("verified", "tflite-int8-static-int8-border"),
    }
    (project / "again").mkdir()
    again = recipe_of(bundle, manifest, project / "again")
    assert [v.border for c in again.choices for v in c.variants] == ["int8"] * 3
    return bundle / "targets"


def border(target: Path) -> Any:
    return json.loads((target / "contract.json").read_bytes())["border"]


def golden(target: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    with (
        np.load(target / "golden" / "inputs.npz") as takes,
        np.load(target / "golden" / "outputs.npz") as gives,
    ):
        return takes["image"], gives["logits"]


def said(command: Sequence[str | Path], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_the_loader_takes_real_numbers_or_integers_and_gives_real_numbers(targets: Path) -> None:
    here = targets / HERE
    assert "8 golden samples are answered as before" in said([sys.executable, "-B", here / "load.py"])
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from load import integers, load, read_contract
run, border = load(), read_contract(__import__("pathlib").Path(sys.argv[1]))["border"]
image = np.load(sys.argv[1] + "/golden/inputs.npz")["image"]
stored = integers({"image": image}, border["inputs"])
assert stored["image"].dtype == np.int8
assert np.array_equal(run({"image": image})["logits"], run(stored)["logits"])
print(run(stored)["logits"].dtype)
"""
    assert said([sys.executable, "-B", "-c", program, here]) == "float32\n"


def test_litert_runs_the_file_as_it_ships_on_integers(targets: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    edges = border(targets / "mobile")
    image, logits = golden(targets / "mobile")
    file = Interpreter(model_path=str(targets / "mobile" / "artifact" / "model.tflite"))
    file.allocate_tensors()
    (takes,), (gives,) = file.get_input_details(), file.get_output_details()
    for one, expected in zip(image, logits, strict=True):
        file.set_tensor(takes["index"], integers({"image": one[None]}, edges["inputs"])["image"])
        file.invoke()
        made = reals({"logits": file.get_tensor(gives["index"])}, edges["outputs"])["logits"]
        np.testing.assert_array_equal(made[0], expected)


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("gcc")), reason="needs cmake and gcc")
def test_the_header_compiles_without_a_warning_and_converts_as_the_loader_does(
    targets: Path, tmp_path: Path
) -> None:
    board = targets / "cortex-m4"
    shutil.copytree(board / "artifact", tmp_path / "artifact")
    flags = "-std=c99 -Wall -Wextra -Wconversion -Wshadow -pedantic -Werror"
    said(["cmake", "-S", tmp_path / "artifact", "-B", tmp_path / "made", f"-DCMAKE_C_FLAGS={flags}"])
    said(["cmake", "--build", tmp_path / "made"])
    assert "passed: 0 elements wrong" in said([tmp_path / "made" / "selftest"])
    (tmp_path / "main.c").write_text(C % ", ".join(f"{value:.9e}f" for value in REAL))
    source = tmp_path / "artifact" / "src"
    said(["gcc", *flags.split(), "-I", source, tmp_path / "main.c", "-o", tmp_path / "main"])
    assert_converted(said([tmp_path / "main"]), border(board))
    if shutil.which("g++"):
        said(["g++", *flags.split()[1:], "-fsyntax-only", "-x", "c++", source / "model.h"])


@pytest.mark.skipif(not (shutil.which("javac") and shutil.which("java")), reason="needs a JDK")
def test_the_java_class_converts_as_the_loader_does(targets: Path, tmp_path: Path) -> None:
    board = targets / "cortex-m4"
    (tmp_path / "Main.java").write_text(JAVA % ", ".join(f"{value:.9e}f" for value in REAL))
    model = board / "artifact" / "java" / "sprue" / "Model.java"
    said(["javac", "-Xlint:all", "-Werror", "-d", tmp_path, model, tmp_path / "Main.java"])
    assert_converted(said(["java", "-cp", tmp_path, "Main"]), border(board))


def assert_converted(lines: str, edges: Any) -> None:
    stored = integers({"image": REAL}, edges["inputs"])["image"]
    real = reals({"logits": stored}, edges["outputs"])["logits"]
    made = [line.split() for line in lines.splitlines()]
    assert [int(one) for one, _ in made] == stored.tolist()
    assert [np.float32(other) for _, other in made] == real.tolist()


def test_a_network_without_int8_at_its_ends_is_refused(sprue: Run, project: Path) -> None:
    kernel = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Sin", ["x"], ["a"], "first"),
        helper.make_node("MatMul", ["a", "w"], ["b"], "middle"),
        helper.make_node("Sin", ["b"], ["y"], "last"),
    ]
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", s]) for n, s in (("x", 4), ("y", 6))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [numpy_helper.from_array(kernel, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    tiny = project / "models" / "tiny"
    (tiny / "tiny.onnx").write_bytes(model.SerializeToString())
    x = np.random.default_rng(2).standard_normal((8, 4)).astype(np.float32)
    np.savez(tiny / "calibration.npz", allow_pickle=False, x=x)
    np.savez(
        tiny / "evaluation.npz", allow_pickle=False, x=x, label=np.sin(np.sin(x) @ kernel).argmax(axis=1)
    )
    recipe = 'model = "tiny"\n[target.cortex-m4]\nprecision = "int8"\nborder = "int8"\n'
    (project / "recipes" / "tiny.toml").write_text(recipe)
    for command in ("check", "build"):
        done = sprue(project, command, "recipes/tiny.toml")
        assert done.returncode == 1
        assert 'border = "int8" would change nothing' in done.stdout + done.stderr
    assert not (project / "bundles").exists()
