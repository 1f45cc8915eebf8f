"""Generated C on a host: its loops become vector instructions, and its self-test passes."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from sprue.targets.c import BACKEND

from sprue.backend import Variant
from sprue.target import load_target

from .test_integer_kernels import convolution

pytest.importorskip("ziglang", reason="needs the extra embedded")
pytestmark = pytest.mark.slow

FLAGS = ["-std=c99", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno", "-Isrc"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels for sixteen bytes at once, whose plain C compilers know what to do with."""
    ours, _, feeds = convolution((1, 16, 9, 8), (8, 16, 3, 3), pads=[1, 1, 1, 1])
    out = tmp_path_factory.mktemp("host")
    BACKEND.compile(ours, Variant(load_target("cortex-m55"), "c", "float32"), feeds, out)
    return out


def run(command: Sequence[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("gcc")), reason="needs cmake and gcc")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 instructions")
def test_cmake_builds_for_this_machine_and_gcc_vectorises(artifact: Path, tmp_path: Path) -> None:
    run(["cmake", "-B", tmp_path / "build", "-S", artifact, "-DMODEL_OPTIMIZE=-O3;-march=native"], tmp_path)
    said = run(["cmake", "--build", tmp_path / "build", "--verbose"], tmp_path)
    assert "-O3 -march=native" in said
    run(["ctest", "--test-dir", tmp_path / "build"], tmp_path)
    run(["gcc", "-O3", "-march=native", *FLAGS, "-S", "src/model.c", "-o", tmp_path / "model.s"], artifact)
    text = (tmp_path / "model.s").read_text()
    assert re.search(r"\bv?pmadd|\bv?pmull|\bv?pdp", text), "products of many numbers at once"


@pytest.mark.skipif(shutil.which("qemu-aarch64-static") is None, reason="needs Debian's qemu-user-static")
def test_on_64_bit_arm_zig_vectorises_and_the_self_test_passes(artifact: Path, tmp_path: Path) -> None:
    zig: list[str | Path] = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        "aarch64-linux-musl",
        "-O3",
        *FLAGS,
    ]
    run([*zig, "-S", "src/model.c", "-o", tmp_path / "model.s"], artifact)
    assert re.search(r"\b(smull|smlal2?|mla)\s+v\d", (tmp_path / "model.s").read_text())
    run([*zig, "-static", "src/model.c", "test/selftest.c", "-o", tmp_path / "selftest"], artifact)
    assert run(["qemu-aarch64-static", tmp_path / "selftest"], tmp_path).startswith("passed")
