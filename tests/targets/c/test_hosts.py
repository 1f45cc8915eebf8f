"""Generated C on a host: its loops become vector instructions, and its self-test passes."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sprue.targets.c import BACKEND

from sprue.backend import Variant
from sprue.target import load_target

from .test_integer_kernels import convolution

pytest.importorskip("ziglang", reason="needs the extra embedded")
pytestmark = pytest.mark.slow

FLAGS = ["-std=c99", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno", "-Isrc"]


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Path]:
    def compiled(target: str) -> Path:
        ours, _, feeds = convolution((1, 16, 9, 8), (8, 16, 3, 3), pads=[1, 1, 1, 1])
        BACKEND.compile(ours, Variant(load_target(target), "c", "float32"), feeds, tmp_path / "artifact")
        return tmp_path / "artifact"

    (tmp_path / "artifact").mkdir()
    return compiled


def run(command: Sequence[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("gcc")), reason="needs cmake and gcc")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 instructions")
def test_cmake_builds_it_by_gcc_which_vectorises_and_the_self_test_passes(
    build: Callable[[str], Path], tmp_path: Path
) -> None:
    artifact = build("linux-x86-64")
    jni = ["-DMODEL_JNI=ON"] if shutil.which("javac") else []
    run(["cmake", "-B", tmp_path / "build", "-S", artifact, *jni], tmp_path)
    said = run(["cmake", "--build", tmp_path / "build", "--verbose"], tmp_path)
    assert "-O3 -march=x86-64 -mavx2 -mfma" in said
    if " fma " in Path("/proc/cpuinfo").read_text():
        run(["ctest", "--test-dir", tmp_path / "build"], tmp_path)
    flags = ["-O3", "-mavx2", "-mfma", "--param=max-completely-peel-times=8", *FLAGS]
    run(["gcc", *flags, "-S", "src/model.c", "-o", tmp_path / "model.s"], artifact)
    text = (tmp_path / "model.s").read_text()
    assert re.search(r"\bvfmadd\w+ps\b.*ymm", text), "eight products at once"


@pytest.mark.skipif(shutil.which("qemu-aarch64-static") is None, reason="needs Debian's qemu-user-static")
def test_on_64_bit_arm_zig_vectorises_and_the_self_test_passes(
    build: Callable[[str], Path], tmp_path: Path
) -> None:
    artifact = build("linux-aarch64")
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
    assert re.search(r"\bfmla\s+v\d+\.4s", (tmp_path / "model.s").read_text())
    run([*zig, "-static", "src/model.c", "test/selftest.c", "-o", tmp_path / "selftest"], artifact)
    assert run(["qemu-aarch64-static", tmp_path / "selftest"], tmp_path).startswith("passed")
