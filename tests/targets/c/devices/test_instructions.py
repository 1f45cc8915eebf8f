"""Machine code that an assembler made, and calls that lie where nothing but a jump tells them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sprue.targets.c import BACKEND
from sprue.targets.c.devices.instructions import jumps, split

from sprue.backend import Variant
from sprue.target import load_target

from ..models import single


@pytest.mark.parametrize(
    ("isa", "code", "jump"),
    [
        ("arm", "fee7", True),  # b .
        ("arm", "00f000b8", True),  # b.w
        ("arm", "00f000f8", False),  # bl
        ("arm", "00f00080", False),  # beq.w
        ("arm", "7047", False),  # bx lr
        ("riscv", "6f000000", True),  # j
        ("riscv", "ef000000", False),  # jal ra
        ("riscv", "67000300", True),  # jr t1
        ("riscv", "01a0", True),  # c.j
        ("riscv", "0283", True),  # c.jr t1
        ("riscv", "0290", False),  # c.ebreak
    ],
)
def test_what_leaves_no_way_back_is_a_jump(isa: str, code: str, jump: bool) -> None:
    (instruction,) = split(bytes.fromhex(code), isa)
    assert jumps(instruction, isa) is jump


@pytest.mark.slow
def test_the_only_kernel_of_a_model_is_counted_though_it_lies_right_behind_run(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="needs the extra embedded")
    pytest.importorskip("unicorn", reason="needs the extra embedded")
    x, w = np.ones((1, 4), np.float32), np.ones((4, 3), np.float32)
    variant = Variant(load_target("cortex-m4"), "c", "float32")
    BACKEND.compile(single("Gemm", {"x": x}, {"w": w}), variant, {"x": x}, tmp_path)
    (gemm,) = BACKEND.load(tmp_path, variant).operators({"x": x})
    assert gemm.op == "Gemm"
    assert gemm.instructions > 0
