"""Regions of images that lie partly or wholly outside, are flat or turned around: as ONNX's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from sprue.errors import SprueError

pytest.importorskip("ai_edge_litert", reason="needs the extra sprue[mobile]")
from .build import lowered_runner

REGIONS = [[0, 0, 7, 5], [-3, -4, 2, 3], [5, 4, 12, 11], [2, 2, 2, 2], [6, 4, 1, 1], [20, 20, 30, 30]]


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("places", ["half_pixel", "output_half_pixel"])
def test_cells_of_any_region_are_those_of_the_reference(mode: str, places: str) -> None:
    fed = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 6, 8]),
        helper.make_tensor_value_info("r", TensorProto.FLOAT, [6, 4]),
        helper.make_tensor_value_info("of", TensorProto.INT64, [6]),
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [6, 3, 2, 3])]
    given: dict[str, Any] = {"output_height": 2, "output_width": 3, "sampling_ratio": 2, "spatial_scale": 0.9}
    node = helper.make_node(
        "RoiAlign", ["x", "r", "of"], ["y"], "n", mode=mode, coordinate_transformation_mode=places, **given
    )
    graph = helper.make_graph([node], "g", fed, made)
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 8)).astype(np.float32)
    feeds = {"x": x, "r": np.array(REGIONS, np.float32), "of": np.array([0, 1, 1, 0, 1, 0])}
    runner = lowered_runner(source)
    (wanted,) = map(np.asarray, ReferenceEvaluator(source).run(None, feeds))
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(runner.run(feeds)["y"], wanted, atol=2e-6)
    for strange in (2, -1, 2**32):
        with pytest.raises(SprueError):
            runner.run(feeds | {"of": np.array([0, 0, 0, 0, 0, strange])})
