"""The int8 kernels for RISC-V's vectors, of whatever length, give the bits of other fixed-point kernels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from sprue.targets.c import BACKEND
from sprue.targets.c.devices.elf import read_firmware
from sprue.targets.c.devices.emulator import Emulator
from sprue.targets.c.devices.qemu import QemuBoard, version
from sprue.targets.c.firmware import FIRMWARE
from sprue.targets.c.machine import machine

from sprue.backend import Variant
from sprue.target import load_target

from ..host import Program, build
from ..models import Array, kernels, source
from ..test_integer_kernels import CASES, convolution, folded, product, scale

pytestmark = pytest.mark.slow

TARGET = load_target("riscv32v")
BOARD = machine(TARGET)
KERNELS = {
    "conv 3x3": "conv_scalable_int8",
    "conv in groups, odd outputs": "conv_scalable_int8",
    "conv 1x1 in place": "conv_scalable_int8",
    "depthwise conv in place": "conv_depthwise_scalable_int8",
    "depthwise conv with stride": "conv_depthwise_scalable_int8",
    "depthwise conv with dilation": "conv_depthwise_scalable_int8",
    "depthwise conv of one dimension": "conv_depthwise_scalable_int8",
    "matmul of one row": "linear_scalable_int8",
    "conv of uint8": "conv_tiled_int8",
}


def of_every_factor() -> tuple[ModelProto, dict[str, Array]]:
    """A convolution whose channels are multiplied by just less than 1, 1/2, 1/4 ... and by 1/2, 1/4 ..."""
    x = np.arange(-128, 128).astype(np.int8).reshape(1, 1, 16, 16)
    shifts = np.repeat(np.arange(34), 2)
    factors = np.where(np.arange(68) % 2, 0.5, 0.999) * 2.0**-shifts
    bias = np.clip(np.random.default_rng(8).integers(-120, 120, 68) * 2**shifts, -(2**31) + 999, 2**31 - 999)
    quants: dict[str, tuple[Array, Array]] = {
        "x": (scale(1.0), np.array(0, np.int8)),
        "w": (factors.astype(np.float32), np.zeros(68, np.int8)),
        "b": (factors.astype(np.float32), np.zeros(68, np.int32)),
    }
    weights = np.where(shifts % 3, 1, -1).astype(np.int8).reshape(68, 1, 1, 1)
    constants = {"w": weights, "b": bias.astype(np.int32)}
    return folded("Conv", x, constants, quants, {"w": 0, "b": 0}, (1.0, -3)), {"x": x}


OTHERS = {
    "conv of more outputs than lanes": convolution((1, 5, 7, 5), (77, 5, 3, 2), pads=[1, 0, 1, 1]),
    "conv, inputs more than 64 KiB apart": convolution((1, 3, 160, 210), (4, 3, 1, 2), strides=[8, 8]),
    "depthwise conv of long rows": convolution((1, 2, 3, 77), (2, 1, 3, 3), group=2),
    "matmul of six rows": product(1, 6, 21, 45),
}
EVERY: dict[str, tuple[ModelProto, dict[str, Array]]] = {
    **{name: (CASES[name][0], CASES[name][2]) for name in KERNELS},
    **{name: (ours, feeds) for name, (ours, _, feeds) in OTHERS.items()},
    "factors from 1 to none": of_every_factor(),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Each case twice: with the kernels for vectors, in plain C, and with those for any processor."""
    sources = [
        source(model, f"m{2 * i + other}", fixed_point=True, scalable=not other)
        for i, (model, _) in enumerate(EVERY.values())
        for other in range(2)
    ]
    return build(tmp_path_factory.mktemp("scalable"), sources)


@pytest.mark.parametrize("name", KERNELS)
def test_cores_with_scalable_vectors_get_kernels_of_their_own(name: str) -> None:
    assert kernels(EVERY[name][0], fixed_point=True, scalable=True) == [KERNELS[name]]


def test_a_floating_point_unit_takes_their_place() -> None:
    """Their results are computed in fixed point, a core with floats computes them in floats."""
    assert BOARD.scalable
    assert BOARD.needs == ("zve32x", "zvl128b")
    assert not machine(replace(TARGET, cpu="rv32imafc")).scalable


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")
@pytest.mark.parametrize("name", EVERY)
def test_they_compute_what_the_other_fixed_point_kernels_compute(
    name: str, program: Program, tmp_path: Path
) -> None:
    """Under UBSan as plain C, and in QEMU with registers of 128 and of 512 bits."""
    pytest.importorskip("ziglang", reason="needs the extra embedded")
    assert BOARD.qemu is not None
    if version(BOARD.qemu.program) is None:
        pytest.skip("needs Debian's qemu-system-misc")
    model, feeds = EVERY[name]
    place = 2 * list(EVERY).index(name)
    wanted = program.run(place + 1, feeds)["y0"]
    assert len(np.unique(wanted)) > 8, "the case is too tame to show anything"
    np.testing.assert_array_equal(program.run(place, feeds)["y0"], wanted)
    BACKEND.compile(model, Variant(TARGET, "c", "float32"), feeds, tmp_path)
    firmware = read_firmware(tmp_path / FIRMWARE)
    for bits in (128, 512):
        options = tuple(o.replace("vlen=128", f"vlen={bits}") for o in BOARD.qemu.options)
        board = replace(BOARD, qemu=replace(BOARD.qemu, options=options))
        got = Emulator(firmware, QemuBoard(firmware, tmp_path / FIRMWARE, board)).run(feeds)["y0"]
        np.testing.assert_array_equal(got, wanted)


def test_vectors_need_less_than_a_quarter_of_the_instructions(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="needs the extra embedded")
    assert BOARD.qemu is not None
    if version(BOARD.qemu.program) is None:
        pytest.skip("needs Debian's qemu-system-misc")
    pointwise, dense = convolution((1, 32, 8, 8), (32, 32, 1, 1)), product(1, 128, 64)
    depthwise = convolution((1, 16, 8, 8), (16, 1, 3, 3), group=16, pads=[1, 1, 1, 1])
    for index, (model, _, feeds) in enumerate((pointwise, depthwise, dense)):
        counted = []
        for name in ("riscv32v", "riscv32"):
            variant = Variant(load_target(name), "c", "float32")
            folder = tmp_path / f"{index} {name}"
            folder.mkdir()
            BACKEND.compile(model, variant, feeds, folder)
            counted.append(BACKEND.load(folder, variant).profile().instructions or 0)
        assert 0 < 4 * counted[0] < counted[1]
