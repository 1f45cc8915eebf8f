"""Random networks with branches, in float32 and int8, against onnxruntime: what single operators cannot show.

Branches that join again, tensors that are read late, results in the place of inputs: here the arena's plan
and the in-place kernels meet. Every graph comes from a seed, so a failure can be repeated.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from sprue.passes.quantize_static import QuantizeStatic
from sprue.passes.simplify import Simplify
from tests.thinning import thinned

from .host import build
from .models import reference, source
from .random_graphs import network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers"),
]
GRAPHS = 120


def test_random_networks_agree_in_float32(tmp_path_factory: pytest.TempPathFactory) -> None:
    seeds = thinned(range(GRAPHS), 3)
    made = [network(seed) for seed in seeds]
    models = [Simplify(batch=1).apply(model, {}) for model, _ in made]
    program = build(tmp_path_factory.mktemp("float"), [source(m, f"m{i}") for i, m in enumerate(models)])
    for index, (model, samples) in enumerate(made):
        feeds = {"x": samples[:1]}
        got = program.run(index, feeds)
        for name, wanted in reference(model, feeds).items():
            limit = 2e-5 * max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(
                got[name], wanted, rtol=0, atol=limit, err_msg=f"seed {seeds[index]}, {name}"
            )


def test_random_networks_agree_in_int8(tmp_path_factory: pytest.TempPathFactory) -> None:
    """To a few steps of the result's scale: a sum beside a rounding border moves what follows by a step."""
    seeds = thinned(range(GRAPHS), 3)
    made = [network(seed) for seed in seeds]
    models = []
    for model, samples in made:
        simple = Simplify(batch=1).apply(model, {})
        models.append(QuantizeStatic().apply(simple, {"x": samples}))
    program = build(tmp_path_factory.mktemp("int8"), [source(m, f"m{i}") for i, m in enumerate(models)])
    apart = []
    for index, (model, (_, samples)) in enumerate(zip(models, made, strict=True)):
        feeds = {"x": samples[:1]}
        got = program.run(index, feeds)
        for name, wanted in reference(model, feeds).items():
            spread = float(wanted.max() - wanted.min()) or 1.0
            apart.append(float(np.abs(got[name] - wanted).max()) / spread)
            assert apart[-1] < 0.05, f"seed {seeds[index]}, {name}: {apart[-1]:.3f} of the range"
    assert float(np.median(apart)) < 0.002
