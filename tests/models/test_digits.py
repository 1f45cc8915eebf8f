"""The image classifier comes from its train.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import PROJECT, Sample, assert_same_data, read_sample


def test_it_has_the_operators_of_a_depthwise_separable_network(digits: Sample) -> None:
    groups = [a.i for n in digits.onnx.graph.node for a in n.attribute if a.name == "group"]
    assert sorted(groups) == [1, 1, 1, 1, 16, 32]
    assert {n.op_type for n in digits.onnx.graph.node} == {
        *("Conv", "Relu", "MaxPool", "GlobalAveragePool", "Flatten", "Gemm")
    }


def test_the_evaluation_data_is_scikit_learns(digits: Sample) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn (the extra `train`)")
    bundled = datasets.load_digits()
    known = {
        (i / 16).astype(np.float32).tobytes(): t for i, t in zip(bundled.images, bundled.target, strict=True)
    }
    for image, label in zip(digits.evaluation["image"], digits.evaluation["label"], strict=True):
        assert known[image.tobytes()] == label


@pytest.mark.slow
def test_training_again_gives_the_same_data_and_as_good_a_network(digits: Sample, tmp_path: Path) -> None:
    for package in ("torch", "sklearn"):
        pytest.importorskip(package, reason=f"needs {package} (the extra `train`)")
    for name in ("train.py", "model.toml"):
        (tmp_path / name).write_bytes((PROJECT / "models" / "digits" / name).read_bytes())
    subprocess.run([sys.executable, str(tmp_path / "train.py")], check=True, env=dict(os.environ))
    again = read_sample(tmp_path)
    assert_same_data(again, digits)
    assert [n.name for n in again.onnx.graph.node] == [n.name for n in digits.onnx.graph.node]
    assert again.accuracy() >= 0.98
