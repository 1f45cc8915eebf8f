"""A second opinion: emx-onnx-cgen, another ONNX -> C generator, on the same models.

It lives in an environment of its own (its package installs a top-level module named `shared`): put its
command on PATH, or name it in SPRUE_EMX. Without it the test is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.graph import inputs, outputs, serialise
from sprue.passes.simplify import Simplify

from .host import build
from .models import source

EMX = os.environ.get("SPRUE_EMX") or shutil.which("emx-onnx-cgen")
pytestmark = [
    pytest.mark.skipif(EMX is None, reason="needs emx-onnx-cgen on PATH or in SPRUE_EMX"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]
Case = tuple[ModelProto, dict[str, NDArray[Any]]]


def emx_program(model: ModelProto, folder: Path) -> Path:
    """Its C with a main() that reads the input and writes the output raw."""
    (folder / "model.onnx").write_bytes(serialise(model))
    flags = ["--large-temp-threshold=0", "--large-weight-threshold=0", "--no-restrict-arrays"]
    assert EMX is not None
    command = [EMX, "compile", *flags, "--model-name", "model", "model.onnx", "emx.c"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    (fed,), (made,) = inputs(model), outputs(model)
    kind = {"float32": "float", "int64": "int64_t"}
    fed_count, made_count = (int(np.prod([d or 1 for d in t.shape])) for t in (fed, made))
    text = (folder / "emx.c").read_text() + (
        "\n#include <stdio.h>\nint main(void) {\n"
        f"    static {kind[fed.dtype.name]} in[{fed_count}];\n"
        f"    static {kind[made.dtype.name]} out[{made_count}];\n"
        f"    if (fread(in, sizeof in[0], {fed_count}, stdin) != {fed_count}) return 3;\n"
        "    model((void *)in, (void *)out);\n"
        f"    return fwrite(out, sizeof out[0], {made_count}, stdout) != {made_count};\n}}\n"
    )
    (folder / "emx.c").write_text(text)
    subprocess.run(
        ["gcc", "-std=c11", "-O1", "-w", "emx.c", "-lm", "-o", "emx"], cwd=folder, check=True, timeout=120
    )
    return folder / "emx"


@pytest.mark.slow
@pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])
def test_another_generators_c_agrees(network: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    case: Case = request.getfixturevalue(network)
    model = Simplify(batch=1).apply(case[0], {})
    theirs = emx_program(model, tmp_path)
    (tmp_path / "ours").mkdir()
    ours = build(tmp_path / "ours", [source(model, "m0")])
    (name,) = case[1]
    for row in range(5):
        sample = case[1][name][row : row + 1]
        done = subprocess.run([theirs], input=sample.tobytes(), capture_output=True, check=True, timeout=60)
        wanted = np.frombuffer(done.stdout, np.float32)
        got = ours.run(0, {name: sample})["logits"].ravel()
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
