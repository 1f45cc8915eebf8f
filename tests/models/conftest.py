"""What the tests of the sample models share: the samples themselves, read as sprue reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from sprue.data import read_arrays
from sprue.graph import inputs, read_model, serialise
from sprue.model import Model, load_model

PROJECT = Path(__file__).resolve().parents[2]

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Sample:
    model: Model
    onnx: ModelProto
    calibration: dict[str, Array]
    evaluation: dict[str, Array]

    @property
    def input(self) -> str:
        return inputs(self.onnx)[0].name

    def logits(self, array: Array) -> NDArray[np.float32]:
        """[samples, classes] in onnxruntime without graph optimization: as the operators are specified."""
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(serialise(self.onnx), options, ["CPUExecutionProvider"])
        return np.asarray(session.run(None, {self.input: array})[0], np.float32)

    def accuracy(self) -> float:
        found = self.logits(self.evaluation[self.input]).argmax(axis=1)
        return float((found == self.evaluation[self.model.label]).mean())


def read_sample(folder: Path) -> Sample:
    model = load_model(folder)
    assert model.calibration is not None
    return Sample(
        model, read_model(model.source), read_arrays(model.calibration), read_arrays(model.evaluation)
    )


def assert_same_data(made: Sample, committed: Sample) -> None:
    """The same arrays; the bytes of the files depend on zlib's version too."""
    for one, other in ((made.calibration, committed.calibration), (made.evaluation, committed.evaluation)):
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], strict=True)


@pytest.fixture(scope="session")
def digits() -> Sample:
    return read_sample(PROJECT / "models" / "digits")


@pytest.fixture(scope="session")
def intent() -> Sample:
    return read_sample(PROJECT / "models" / "intent")


@pytest.fixture(params=["digits", "intent"])
def sample(request: pytest.FixtureRequest) -> Sample:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Sample)
    return found


@pytest.fixture(scope="session")
def clinc150() -> Path:
    """The folder that holds `clinc150/`; skips where it is absent."""
    folder = Path(os.environ.get("SPRUE_DATA", PROJECT.parent / "shared" / "data"))
    if not (folder / "clinc150" / "data_full.json").is_file():
        pytest.skip(f"CLINC150 is not in {folder}; SPRUE_DATA names another folder")
    return folder


@pytest.fixture(scope="session")
def mlperf_tiny() -> Path:
    """The folder of MLPerf Tiny's .tflite files; skips where it is absent."""
    folder = Path(os.environ.get("SPRUE_DATA", PROJECT.parent / "shared" / "data")) / "mlperf-tiny"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; SPRUE_DATA names the folder that holds mlperf-tiny")
    return folder


@pytest.fixture
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one of the models' scripts in a process of its own."""

    def run(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROJECT / "models" / name), *arguments]
        environment = {**os.environ, **variables}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run
