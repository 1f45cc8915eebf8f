"""The int8 kernels for MVE equal onnxruntime in every element, as plain C and on an emulated Cortex-M55."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from sprue.targets.c import BACKEND
from sprue.targets.c.devices.device import load
from sprue.targets.c.devices.qemu import ARM, version

from sprue.backend import Variant
from sprue.target import load_target

from ..host import Program, build
from ..models import Array, kernels, reference, sources
from ..test_integer_kernels import CASES, convolution, product

pytestmark = pytest.mark.slow

KERNELS = {
    "conv 3x3": "conv_vectors_int8",
    "conv in groups, odd outputs": "conv_vectors_int8",
    "conv 1x1 in place": "conv_vectors_int8",
    "depthwise conv in place": "conv_depthwise_vectors_int8",
    "depthwise conv with stride": "conv_depthwise_vectors_int8",
    "depthwise conv with dilation": "conv_depthwise_vectors_int8",
    "depthwise conv of one dimension": "conv_depthwise_vectors_int8",
    "matmul": "linear_vectors_int8",
    "matmul of one row": "linear_vectors_int8",
    "conv of uint8": "conv_tiled_int8",
}
FAR = "conv, inputs more than 64 KiB apart"
EVERY = {
    **{name: CASES[name] for name in KERNELS},
    FAR: convolution((1, 3, 160, 210), (4, 3, 1, 1), strides=[8, 8]),
}
ON_THE_DEVICE = [n for n in KERNELS if n not in ("matmul", "conv of uint8")]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    made = sources((model for model, _, _ in EVERY.values()), vectors=True)
    return build(tmp_path_factory.mktemp("vectors"), made)


@pytest.mark.parametrize("name", KERNELS)
def test_cores_with_vectors_get_kernels_of_their_own(name: str) -> None:
    assert kernels(EVERY[name][0], vectors=True) == [KERNELS[name]]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
@pytest.mark.parametrize("name", EVERY)
def test_as_plain_c_every_element_equals_onnxruntimes(name: str, program: Program) -> None:
    _, theirs, feeds = EVERY[name]
    got = program.run(list(EVERY).index(name), feeds)["y0"]
    (wanted,) = reference(theirs, feeds).values()
    assert len(np.unique(wanted)) > 8, "the case is too tame to show anything"
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.skipif(version(ARM) is None, reason="needs Debian's qemu-system-arm")
@pytest.mark.parametrize("name", ON_THE_DEVICE)
def test_on_a_cortex_m55_every_element_equals_onnxruntimes(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="needs the extra embedded")
    ours, theirs, feeds = EVERY[name]
    target = load_target("cortex-m55")
    BACKEND.compile(ours, Variant(target, "c", "float32"), feeds, tmp_path)
    device = load(tmp_path, target)
    assert device.execution == "emulated"
    (wanted,) = reference(theirs, feeds).values()
    np.testing.assert_array_equal(device.run(feeds)["y0"], wanted)


@pytest.mark.skipif(version(ARM) is None, reason="needs Debian's qemu-system-arm")
@pytest.mark.parametrize(
    "case",
    [
        convolution((1, 32, 8, 8), (32, 32, 1, 1)),
        convolution((1, 16, 8, 8), (16, 1, 3, 3), group=16, pads=[1, 1, 1, 1]),
        product(1, 128, 64),
    ],
    ids=["pointwise", "depthwise", "dense"],
)
def test_vectors_need_less_than_half_of_the_instructions(
    case: tuple[ModelProto, ModelProto, dict[str, Array]], tmp_path: Path
) -> None:
    pytest.importorskip("ziglang", reason="needs the extra embedded")
    counted = {}
    for name in ("cortex-m33", "cortex-m55"):
        target = load_target(name)
        (tmp_path / name).mkdir()
        BACKEND.compile(case[0], Variant(target, "c", "float32"), case[2], tmp_path / name)
        counted[name] = load(tmp_path / name, target).profile().instructions or 0
    assert 0 < counted["cortex-m55"] < counted["cortex-m33"] / 2
