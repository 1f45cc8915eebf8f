"""What holds for every sample model: other tests, benchmarks and the README build on it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from sprue.data import check_inputs, check_labels
from sprue.graph import inputs, non_finite_weights, opset, outputs
from sprue.judging.metric import METRICS
from sprue.recipe import load_recipe

from .conftest import PROJECT, Sample

INTERFACE = {
    "digits": ("image: float32[?, 1, 8, 8]", "logits: float32[?, 10]"),
    "intent": ("tokens: int64[?, 16]", "logits: float32[?, 10]"),
}
MOST_BYTES = {"digits": 400_000, "intent": 1_000_000}
LEAST_ACCURACY = {"digits": 0.98, "intent": 0.95}


def test_the_network_is_valid_and_has_the_promised_interface(sample: Sample) -> None:
    onnx.checker.check_model(sample.onnx, full_check=True)
    there = (*inputs(sample.onnx), *outputs(sample.onnx))
    assert tuple(str(t) for t in there) == INTERFACE[sample.model.name]
    assert 17 <= opset(sample.onnx) <= 21
    assert not non_finite_weights(sample.onnx)


def test_the_network_is_small_enough_for_the_repository(sample: Sample) -> None:
    assert sample.model.source.stat().st_size < MOST_BYTES[sample.model.name]


def test_the_network_reaches_its_accuracy_on_the_evaluation_data(sample: Sample) -> None:
    assert LEAST_ACCURACY[sample.model.name] <= sample.accuracy() < 1.0


def test_the_data_fits_the_network(sample: Sample) -> None:
    specs = inputs(sample.onnx)
    samples = len(check_inputs(sample.evaluation, specs, "", ignore=[sample.model.label])[sample.input])
    labels = check_labels(
        sample.evaluation, sample.model.label, samples, METRICS[sample.model.metric], "evaluation"
    )
    calibration = check_inputs(sample.calibration, specs, "")[sample.input]
    assert samples >= 300
    assert 64 <= len(calibration) <= 128
    assert set(labels.tolist()) == set(range(10))


def test_no_evaluation_sample_is_in_the_calibration_data(sample: Sample) -> None:
    calibration = {row.tobytes() for row in sample.calibration[sample.input]}
    assert not [row for row in sample.evaluation[sample.input] if row.tobytes() in calibration]


def test_a_sample_gets_the_same_answer_alone_as_in_a_batch(sample: Sample) -> None:
    rows = sample.evaluation[sample.input][:8]
    alone = np.concatenate([sample.logits(row[None]) for row in rows])
    np.testing.assert_allclose(alone, sample.logits(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["digits", "intent"])
def test_the_recipe_builds_the_sample_for_all_four_targets(name: str) -> None:
    recipe = load_recipe(PROJECT / "recipes" / f"{name}.toml")
    assert recipe.model.name == name
    assert [c.target.id for c in recipe.choices] == ["server-cpu", "gpu", "mobile", "cortex-m4"]
    assert [c.accept.max_drop for c in recipe.choices] == [0.01] * 4
    assert recipe.choices[-1].target.limit_ram == 64 * 1024
