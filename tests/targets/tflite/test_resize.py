"""Resize with constant scales against onnxruntime, in every mode that both know."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import helper

from .build import Arrays, lowered_runner, model, operations, reference, weight

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
COORDINATES = ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]
CASES = list(itertools.product(["nearest", "linear", "cubic"], COORDINATES))
FACTORS = [(2.0, 2.0), (0.5, 0.5), (3.0, 1.5), (0.75, 2.0)]


@pytest.mark.parametrize(("mode", "coordinates"), CASES)
def test_a_resize_gives_what_onnxruntime_gives(mode: str, coordinates: str) -> None:
    for antialias, (high, wide) in itertools.product((0, 1), FACTORS):
        if antialias and (mode == "nearest" or coordinates != "half_pixel"):
            continue
        node = helper.make_node(
            "Resize",
            ["x", "", "s"],
            ["y"],
            mode=mode,
            coordinate_transformation_mode=coordinates,
            antialias=antialias,
        )
        scales: Arrays = {"s": np.array([1, 1, high, wide], np.float32)}
        source = model([node], {"x": [1, 2, 8, 12]}, ["y"], scales, opset=18)
        samples: Arrays = {"x": weight(1, 1, 2, 8, 12)}
        expected, actual = reference(source, samples), lowered_runner(source).run(samples)
        np.testing.assert_allclose(
            actual["y"], expected["y"], atol=2e-6, err_msg=str((antialias, high, wide))
        )


def test_a_plain_bilinear_resize_is_the_builtin() -> None:
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear")
    source = model([node], {"x": [1, 2, 8, 12]}, ["y"], {"s": np.array([1, 1, 2, 2], np.float32)}, opset=18)
    assert operations(source)["RESIZE_BILINEAR"] == 1
