"""The integer kernels as a Cortex-M4 runs them, in its instructions: equal to onnxruntime in every element.

test_integer_kernels.py runs the plain C of the same kernels, under the sanitizers, against the same answers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sprue.targets.c import BACKEND

from sprue.backend import Variant
from sprue.target import load_target

from .models import Array, reference
from .test_integer_kernels import CASES, convolution, product

pytest.importorskip("ziglang", reason="needs the extra embedded")
pytest.importorskip("unicorn", reason="needs the extra embedded")
pytestmark = pytest.mark.slow

M4 = Variant(load_target("cortex-m4"), "c", "int8-static")
ON_DEVICE = {
    **{name: case for name, case in CASES.items() if "conv" in name and len(case[2]["x"]) == 1},
    "conv with columns beyond one load's reach": convolution((1, 128, 6, 4), (3, 128, 3, 3)),
    "conv of one pixel": convolution((1, 40, 3, 3), (5, 40, 3, 3)),
    "conv of more pixels than one store's reach": convolution((1, 2, 70, 61), (3, 2, 1, 1)),
    "conv whose stride is two": convolution((1, 3, 13, 15), (5, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    "matmul of three long rows": product(1, 3, 8, 2101, step=0.8317),
    "matmul of one row": product(1, 1, 37, 11, step=0.8317),
    "matmul of three rows": product(1, 3, 64, 10),
    "matmul of four rows": product(1, 4, 21, 7, step=0.8317),
}


@pytest.mark.parametrize("name", ON_DEVICE)
def test_the_processors_instructions_give_onnxruntimes_elements(name: str, tmp_path: Path) -> None:
    ours, theirs, feeds = ON_DEVICE[name]
    BACKEND.compile(ours, M4, feeds, tmp_path)
    device = BACKEND.load(tmp_path, M4)
    (wanted,) = reference(theirs, feeds).values()
    np.testing.assert_array_equal(device.run(feeds)["y0"], wanted, strict=True)
    ends: Array = np.where(feeds["x"] < np.median(feeds["x"]), 0, 127).astype(feeds["x"].dtype)
    (wanted,) = reference(theirs, {"x": ends}).values()
    np.testing.assert_array_equal(device.run({"x": ends})["y0"], wanted, strict=True)
