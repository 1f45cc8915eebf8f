"""`sprue debug` on every backend that runs on a CPU, with a fault that any of them must show.

The calibration samples are fifty times too small, so int8 cuts off what is larger, from the first Relu on: it
alone has no weights, so an int8 build of it would be refused: the piece must reach back to the convolution.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.backend import find

Samples = dict[str, NDArray[np.generic]]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ruined(project: Path, tiny_cnn: tuple[ModelProto, Samples]) -> Path:
    model, samples = ModelProto.FromString(tiny_cnn[0].SerializeToString()), tiny_cnn[1]
    model.graph.node[2].input[0] = "conv"
    del model.graph.node[1]  # the normalization between the two
    tiny = project / "models/tiny"
    (tiny / "tiny.onnx").write_bytes(model.SerializeToString())
    image = samples["image"].astype(np.float32)
    np.savez(tiny / "evaluation.npz", allow_pickle=False, image=image, label=np.arange(len(image)) % 10)
    np.savez(tiny / "calibration.npz", allow_pickle=False, image=image * np.float32(0.02))
    return project


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "backend"),
    [("server-cpu", "onnxruntime"), ("server-cpu", "openvino"), ("mobile", "tflite"), ("cortex-m4", "c")],
)
def test_the_first_tensor_that_is_cut_off_is_named_and_one_command_shows_it_again(
    target: str, backend: str, ruined: Path, sprue: Run, tmp_path: Path
) -> None:
    available = find(backend).available()
    if not (available.compiles and available.executes):
        pytest.skip(f"needs {available.missing}: {available.install}")
    (ruined / "recipes/tiny.toml").write_text(
        f'model = "tiny"\n[target.{target}]\nbackend = "{backend}"\nprecision = "int8-static"\n'
        "accept = { steps = 4, atol = 0.02, rtol = 0 }\n"
    )
    out = tmp_path / "piece"
    done = sprue(ruined, "debug", "recipes/tiny.toml", "-t", target, "--json", "-j1", "--out", str(out))
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["tensor"] == "relu"
    assert said["artifact"][1] < 0.5 * said["reference"][1], "it is cut off"
    assert said["piece"] == ["conv", "relu"]
    shutil.rmtree(ruined)
    again = sprue(
        tmp_path, "build", said["recipe"], "--no-freeze", "-j1", SPRUE_CACHE=str(tmp_path / "cache")
    )
    assert again.returncode == 1
    assert "output 'relu' leaves its tolerance by a factor of " in again.stdout
