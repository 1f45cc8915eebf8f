"""Kernels that read where data says, and those of float16 and float64, against onnxruntime and numpy.

Of GridSample, too: ONNX's own reference implementation clamps the places of cubic mode and not their
neighbours, where onnxruntime and PyTorch's grid_sample agree to 1e-6.
"""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto
from sprue.targets.c import BACKEND

from sprue.backend import Variant
from sprue.target import load_target

from .host import build
from .models import Array, reference, single, source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers"),
]
Feeds = dict[str, Array]
RNG = np.random.default_rng(11)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def sampled(mode: str, padding: str, aligned: int) -> tuple[ModelProto, Feeds]:
    """Places up to twice the image's size beyond its borders."""
    feeds: Feeds = {"x": normal(2, 2, 5, 4), "grid": normal(2, 6, 3, 2) * 2}
    given: dict[str, Any] = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    return single("GridSample", feeds, opset=20, **given), feeds


def one(op: str, feeds: Feeds, constants: Feeds | None = None, **given: Any) -> tuple[ModelProto, Feeds]:
    return single(op, feeds, constants, **given), feeds


TIES = RNG.integers(0, 5, (2, 9, 3)).astype(np.float32)
ROIS: Feeds = {
    "rois": np.array([[0, 0, 4, 6], [-3, 1, 12, 3], [2, 2, 2, 2]], np.float32),
    "of": np.array([0, 1, 1], np.int64),
}
CASES: dict[str, tuple[ModelProto, Feeds]] = {
    **{
        f"{mode} {padding} {'by corners' if aligned else 'by pixels'}": sampled(mode, padding, aligned)
        for mode in ("nearest", "linear", "cubic")
        for padding in ("zeros", "border", "reflection")
        for aligned in (0, 1)
    },
    "regions": one("RoiAlign", {"x": normal(2, 2, 7, 6)}, ROIS, output_height=3, output_width=2),
    "regions of whole pixels": one(
        "RoiAlign", {"x": normal(2, 2, 7, 6)}, ROIS, output_height=2, output_width=2, sampling_ratio=2,
        coordinate_transformation_mode="output_half_pixel",
    ),
    "exponentials in double": one("Exp", {"x": np.linspace(-746, 711, 4001)}, dtype=TensorProto.DOUBLE),
    "logarithms in double": one("Log", {"x": 10 ** np.linspace(-320, 308, 4001)}, dtype=TensorProto.DOUBLE),
    "roots in double": one("Sqrt", {"x": 10 ** np.linspace(-320, 308, 4001)}, dtype=TensorProto.DOUBLE),
    "softmax in double": one("Softmax", {"x": RNG.normal(0, 9, (3, 50))}, dtype=TensorProto.DOUBLE),
}  # fmt: skip


def test_each_is_right(tmp_path_factory: pytest.TempPathFactory) -> None:
    sources = [source(model, f"m{i}") for i, (model, _) in enumerate(CASES.values())]
    program = build(tmp_path_factory.mktemp("irregular"), sources)
    for index, (name, (model, feeds)) in enumerate(CASES.items()):
        made, wanted = program.run(index, feeds), reference(model, feeds)
        for output, value in wanted.items():
            exact = value.dtype == np.float64
            np.testing.assert_allclose(
                made[output], value, rtol=1e-14 if exact else 1e-4, atol=0 if exact else 1e-5, err_msg=name
            )


def test_the_largest_and_the_smallest_come_in_order_and_equal_ones_by_their_place(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    models = [
        single("TopK", {"x": TIES}, {"k": np.array([count])}, outputs=2, axis=1, largest=largest)
        for count, largest in ((9, 1), (4, 0))
    ]
    for model in models:
        model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    program = build(tmp_path_factory.mktemp("ties"), [source(m, f"m{i}") for i, m in enumerate(models)])
    for index, order in enumerate((-TIES, TIES)):
        made = program.run(index, {"x": TIES})
        wanted = np.argsort(order, axis=1, kind="stable")[:, : made["y1"].shape[1]]
        np.testing.assert_array_equal(made["y1"], wanted)
        np.testing.assert_array_equal(made["y0"], np.take_along_axis(TIES, wanted, axis=1))


def test_every_float16_is_read_and_rounded_as_numpy_does(tmp_path_factory: pytest.TempPathFactory) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = every[np.isfinite(every)].reshape(1, -1)
    between = halves.astype(np.float32) * np.float32(1.0002)
    large = np.array([[65519, 65520, 1e9]], np.float32)
    singles = np.concatenate([between, halves.astype(np.float32) / 7, large], axis=1)
    read = single("Cast", {"x": halves}, to=TensorProto.FLOAT)
    rounded = single("Cast", {"x": singles}, to=TensorProto.FLOAT16, dtype=TensorProto.FLOAT16)
    program = build(tmp_path_factory.mktemp("halves"), [source(read, "m0"), source(rounded, "m1")])
    np.testing.assert_array_equal(program.run(0, {"x": halves})["y0"], halves.astype(np.float32))
    with np.errstate(over="ignore"):
        wanted = singles.astype(np.float16)
    np.testing.assert_array_equal(
        program.run(1, {"x": singles})["y0"].view(np.uint16), wanted.view(np.uint16)
    )


def test_a_float16_model_computes_in_float32_and_keeps_its_border(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    feeds = {"x": normal(1, 8).astype(np.float16)}
    weights = {"w": normal(8, 4).astype(np.float16)}
    model = single("MatMul", feeds, weights, dtype=TensorProto.FLOAT16)
    variant = Variant(load_target("cortex-m4"), "c", "float32")
    assert BACKEND.check(model, variant) == []
    shaped = model
    for change in BACKEND.passes(variant):
        shaped = change.apply(shaped, {})
    made = build(tmp_path_factory.mktemp("model"), [source(shaped, "m0")]).run(0, feeds)["y0"]
    wanted = feeds["x"].astype(np.float64) @ weights["w"].astype(np.float64)
    assert made.dtype == np.float16
    np.testing.assert_allclose(made, wanted, rtol=1e-3)
