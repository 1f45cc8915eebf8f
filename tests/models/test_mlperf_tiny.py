"""The project that `import_tflite.py` writes, and the inputs that stand in for MLPerf Tiny's data sets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from .conftest import PROJECT

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(mlperf_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny")
    script = [sys.executable, str(PROJECT / "models" / "mlperf_tiny" / "import_tflite.py"), "--out", str(out)]
    subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
    return out


def test_its_absence_is_said_with_the_variable_that_names_it(script: Script, tmp_path: Path) -> None:
    done = script("mlperf_tiny/import_tflite.py", "--out", str(tmp_path / "out"), SPRUE_DATA=str(tmp_path))
    assert done.returncode == 2
    assert "SPRUE_DATA" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kws", "vww", "resnet", "ad01"])
def test_inputs_lie_where_the_int8_originals_expect_them(name: str, project: Path, mlperf_tiny: Path) -> None:
    """Of the input and of the first layer, at most one in a thousand beyond the range of its int8 codes."""
    from sprue.targets.tflite.flatbuffer import read

    files = {"kws": "kws_ref_model", "vww": "vww_96_int8", "resnet": "pretrainedResnet_quant"}
    data = (mlperf_tiny / f"{files.get(name, 'ad01_int8')}.tflite").read_bytes()
    graph = read(data).subgraphs[0]
    samples = np.load(project / "models" / name / "calibration.npz")["x"]
    session = onnxruntime.InferenceSession(_first_layer(project / "models" / name / "model.onnx"))
    (after,) = session.run(None, {"x": samples})
    for values, number in ((samples, graph.inputs[0]), (after, graph.operators[0].outputs[0])):
        q = graph.tensors[int(number)].quantization
        codes = values / q.scale[0] + q.zeroPoint[0]
        assert ((codes < -128.5) | (codes > 127.5)).mean() < 1e-3
        assert codes.max() - codes.min() > 100, "and they use a good part of it"


def _first_layer(path: Path) -> bytes:
    """The model up to its first Relu, whose result is the only output."""
    import onnx

    model = onnx.load(path)
    relu = next(n for n in model.graph.node if n.op_type in ("Relu", "Clip"))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(relu.output[0], 1, None))
    return bytes(model.SerializeToString())


def built(project: Path, name: str, cache: Path) -> list[list[str]]:
    """The rows of what was kept, word by word."""
    command = [sys.executable, "-m", "sprue", "build", f"recipes/{name}.toml"]
    env = {**os.environ, "SPRUE_CACHE": str(cache)}
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split() for line in done.stdout.splitlines() if line.endswith("<- kept")]


@pytest.mark.slow
def test_one_build_gives_an_artifact_for_each_target(project: Path, tmp_path: Path) -> None:
    kept = built(project, "ad01", tmp_path)
    assert [row[0] for row in kept] == ["server-cpu", "mobile", "cortex-m4"]
    assert [row[1] for row in kept[1:]] == ["tflite-int8-static", "c-int8-static-int8-border"]


@pytest.mark.slow
def test_words_that_are_spoken_are_recognised_on_every_target(
    script: Script, mlperf_tiny: Path, tmp_path: Path
) -> None:
    """With labels that are true: the model, its import and the front end are right, and int8 is, too."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs Debian's espeak-ng")
    done = script("mlperf_tiny/import_tflite.py", "--out", str(tmp_path / "project"), "--spoken")
    assert done.returncode == 0, done.stderr
    kept = built(tmp_path / "project", "kws", tmp_path / "cache")
    assert [row[0] for row in kept] == ["server-cpu", "mobile", "cortex-m4"]
    assert [row[1] for row in kept[1:]] == ["tflite-int8-static", "c-int8-static-int8-border"]
    assert all(float(row[3]) > 0.75 for row in kept), kept


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kws", "vww", "resnet"])
def test_the_other_recipes_can_work(name: str, project: Path) -> None:
    command = [sys.executable, "-m", "sprue", "check", f"recipes/{name}.toml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
