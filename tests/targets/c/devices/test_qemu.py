"""Second opinions: GCC and QEMU give, bit for bit, what zig and unicorn give, on each board.

GCC builds the artifact's own sources with the flags of its CMakeLists.txt, and QEMU runs both firmwares.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from sprue.targets.c import BACKEND
from sprue.targets.c.devices.device import load
from sprue.targets.c.devices.elf import read_firmware
from sprue.targets.c.devices.emulator import Emulator
from sprue.targets.c.devices.qemu import QemuBoard, version
from sprue.targets.c.machine import machine, stand_in

from sprue.backend import Variant
from sprue.errors import CheckError
from sprue.target import Precision, Target, load_target
from sprue.targets import FOLDER

from ..models import reference
from ..test_firmware import patched
from ..test_integer_kernels import CASES as INTEGER

pytestmark = pytest.mark.slow
pytest.importorskip("ziglang", reason="needs the extra embedded")
pytest.importorskip("unicorn", reason="needs the extra embedded")

Case = tuple[ModelProto, dict[str, NDArray[Any]]]
RUNS = 4
FLAGS = ["-O2", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno", "-ffreestanding"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
CASES: list[tuple[str, str, Precision]] = [
    ("cortex-m3", "tiny_cnn", "int8-static"),
    *(("cortex-m4", n, p) for n in ("tiny_cnn", "tiny_bilstm") for p in ("float32", "int8-static")),
    *(("cortex-m55", n, p) for n in ("tiny_cnn", "tiny_bilstm") for p in ("float32", "int8-static")),
    *((b, "tiny_cnn", "int8-static") for b in ("cortex-m0plus", "cortex-m7", "cortex-m33", "sifive-e31")),
    *(("riscv32", "tiny_cnn", p) for p in ("float32", "int8-static")),
    ("riscv32v", "tiny_cnn", "int8-static"),
    *(("riscv32f", n, p) for n in ("tiny_cnn", "tiny_bilstm") for p in ("float32", "int8-static")),
]  # fmt: skip


LARGER = {"cortex-m0plus": "cortex-m3", "cortex-m33": "cortex-m55"}
"""Cores that QEMU has no board of, or none with memory where our firmware lies -> one with all of their
instructions, on a board that has."""


def built(request: pytest.FixtureRequest, network: str, variant: Variant, out: Path) -> dict[str, Any]:
    """The artifact into `out`; a few samples."""
    case: Case = request.getfixturevalue(network)
    model, samples = case
    for change in BACKEND.passes(variant):
        model = change.apply(model, samples)
    out.mkdir()
    BACKEND.compile(model, variant, samples, out)
    return {name: np.ascontiguousarray(array[:RUNS]) for name, array in samples.items()}


def by_gcc(artifact: Path, target: Target, *libraries: str) -> Path:
    """The firmware as GCC builds it, without a warning; `libraries`: to link besides."""
    processor = machine(target)
    gcc = processor.isa.gcc
    listed = (artifact / "CMakeLists.txt").read_text()
    assert all(flag in listed for flag in (*FLAGS, *processor.gcc))
    flags = [gcc, "-std=c99", *processor.gcc, *FLAGS, "-Isrc"]
    subprocess.run([*flags, *WARNINGS, "-c", "src/model.c", "-o", "model.o"], cwd=artifact, check=True)
    linked = ["model.o", "firmware/main.c", "firmware/boot.c", *libraries]
    subprocess.run(
        [*flags, "-nostdlib", "-T", "firmware/link.ld", "-o", "gcc.elf", *linked], cwd=artifact, check=True
    )
    return artifact / "gcc.elf"


def in_qemu(elf: Path, target: Target) -> Emulator:
    processor = machine(target)
    firmware = read_firmware(elf)
    return Emulator(firmware, QemuBoard(firmware, elf, processor))


def need(target: Target, *, gcc: bool = False) -> None:
    board = machine(target).qemu
    if board is None or version(board.program) is None:
        pytest.skip("needs Debian's qemu-system-arm and qemu-system-misc")
    if gcc and shutil.which(machine(target).isa.gcc) is None:
        pytest.skip("needs Debian's gcc-arm-none-eabi and gcc-riscv64-unknown-elf")


def test_every_board_has_a_second_opinion_on_int8() -> None:
    boards = {f.stem for f in FOLDER.glob("*.toml") if "c" in load_target(f.stem).backends}
    bare = {b for b in boards if load_target(b).os == "none"}
    assert bare == {board for board, _, precision in CASES if precision == "int8-static"}


@pytest.mark.parametrize(("board", "network", "precision"), CASES)
def test_both_compilers_and_both_emulators_give_the_same_bits(
    board: str, network: str, precision: Precision, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target, runs_it = load_target(board), load_target(LARGER.get(board, board))
    need(runs_it, gcc=True)
    samples = built(request, network, Variant(target, "c", precision), tmp_path / "artifact")
    artifact = tmp_path / "artifact"
    device = load(artifact, target)
    assert device.execution == "emulated"
    expected = device.run(samples)["logits"]
    for elf in (artifact / "firmware.elf", by_gcc(artifact, target, "-lgcc")):
        emulated = in_qemu(elf, runs_it)
        rows = [emulated.run({n: a[i : i + 1] for n, a in samples.items()})["logits"] for i in range(RUNS)]
        np.testing.assert_array_equal(np.concatenate(rows).view(np.uint8), expected.view(np.uint8))


def test_a_target_file_may_name_bit_manipulation(tmp_path: Path) -> None:
    """Of a model that needs no library: Debian's GCC has none for these features."""
    plain = load_target("riscv32")
    target = replace(plain, features=("zba", "zbb"))
    need(target, gcc=True)
    model, _, feeds = INTEGER["depthwise conv in place"]
    made = {}
    for one in (plain, target):
        folder = tmp_path / f"with {len(one.features)}"
        folder.mkdir()
        BACKEND.compile(model, Variant(one, "c", "float32"), feeds, folder)
        made[one.features] = load(folder, one).run(feeds)["y0"], load(folder, one).profile()
    (wanted, before), (got, after) = made.values()
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(in_qemu(by_gcc(folder, target), target).run(feeds)["y0"], wanted)
    assert "QEMU" in after.notes["instructions"], "unicorn does not know them"
    assert "qemu-system-riscv32" in BACKEND.tools(target)
    assert after.instructions is not None
    assert before.instructions is not None
    assert 0 < after.instructions < before.instructions


def test_without_qemu_a_core_without_the_features_stands_in() -> None:
    plain = load_target("riscv32")
    assert stand_in(replace(plain, features=("zbb",))) == plain
    assert stand_in(plain) is None


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.parametrize("board", ["cortex-m55", "riscv32"])
def test_the_cmake_project_makes_the_same_firmware(
    board: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target = load_target(board)
    need(target, gcc=True)
    samples = built(request, "tiny_cnn", Variant(target, "c", "int8-static"), tmp_path / "artifact")
    expected = load(tmp_path / "artifact", target).run(samples)["logits"]
    device = ["-DCMAKE_SYSTEM_NAME=Generic", f"-DCMAKE_C_COMPILER={machine(target).isa.gcc}"]
    for command in (["cmake", "-B", "build", "-S", "artifact", *device], ["cmake", "--build", "build"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    emulated = in_qemu(tmp_path / "build" / "firmware", target)
    rows = [emulated.run({n: a[i : i + 1] for n, a in samples.items()})["logits"] for i in range(RUNS)]
    np.testing.assert_array_equal(np.concatenate(rows), expected)


@pytest.mark.parametrize("board", ["cortex-m55", "riscv32"])
def test_what_check_predicts_for_a_board_is_what_its_build_finds(
    board: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target = load_target(board)
    need(target)
    variant = Variant(target, "c", "int8-static")
    built(request, "tiny_cnn", variant, tmp_path / "artifact")
    model, samples = request.getfixturevalue("tiny_cnn")
    found, told = BACKEND.predict(model, variant, samples)(), load(tmp_path / "artifact", target).profile()
    assert found.findings == ()
    assert (found.profile.flash, found.profile.ram) == (told.flash, told.ram)
    assert found.profile.instructions == told.instructions


@pytest.mark.parametrize("board", ["cortex-m3", "riscv32"])
@pytest.mark.parametrize("name", ["conv 3x3", "depthwise conv in place", "matmul of one row"])
def test_int8_on_a_core_without_floats_needs_no_library_for_them(
    board: str, name: str, tmp_path: Path
) -> None:
    """It links without GCC's own, which computes floats where the processor does not."""
    target = load_target(board)
    need(target, gcc=True)
    model, theirs, feeds = INTEGER[name]
    BACKEND.compile(model, Variant(target, "c", "float32"), feeds, tmp_path)
    got = in_qemu(by_gcc(tmp_path, target), target).run(feeds)["y0"]
    np.testing.assert_array_equal(got, load(tmp_path, target).run(feeds)["y0"])
    (wanted,) = reference(theirs, feeds).values()
    assert np.abs(got.astype(int) - wanted).max() <= 1, "fixed point rounds otherwise, by one at most"
    assert (got != wanted).mean() < 0.01


@pytest.mark.parametrize("board", ["cortex-m4", "riscv32f"])
def test_qemu_counts_the_instructions_that_unicorn_counts(
    board: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target = load_target(board)
    need(target)
    samples = built(request, "tiny_cnn", Variant(target, "c", "int8-static"), tmp_path / "artifact")
    one = {name: array[:1] for name, array in samples.items()}
    ours = load(tmp_path / "artifact", target)._emulator
    other = in_qemu(tmp_path / "artifact" / "firmware.elf", target)
    assert other.count(one).instructions == ours.count(one).instructions > 1000
    assert other.count_calls(one) == ours.count_calls(one)
    assert other.stack(one) == ours.stack(one) > 0


def test_a_core_that_only_qemu_knows_is_measured_like_the_others(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target = load_target("cortex-m55")
    need(target)
    samples = built(request, "tiny_cnn", Variant(target, "c", "int8-static"), tmp_path / "artifact")
    device = load(tmp_path / "artifact", target)
    profile = device.profile()
    operators = device.operators({name: array[:1] for name, array in samples.items()})
    assert profile.ram
    assert profile.instructions
    assert "QEMU" in profile.notes["instructions"]
    assert {o.op for o in operators} >= {"Conv", "Gemm"}
    assert all(o.instructions for o in operators)


def test_without_qemu_another_core_stands_in_and_nothing_is_called_executed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = load_target("cortex-m55")
    variant = Variant(target, "c", "int8-static")
    samples = built(request, "tiny_cnn", variant, tmp_path / "artifact")
    expected = load(tmp_path / "artifact", load_target("cortex-m55")).run(samples)["logits"]
    monkeypatch.setenv("PATH", str(tmp_path))
    version.cache_clear()
    try:
        device = BACKEND.load(tmp_path / "artifact", variant)
        assert device.execution == "stand-in"
        np.testing.assert_array_equal(device.run(samples)["logits"], expected)
        profile = device.profile()
        assert profile.instructions is None
        assert profile.flash == read_firmware(tmp_path / "artifact" / "firmware.elf").flash
        assert device.operators(samples) == ()
        said = BACKEND.available()
        assert said.compiles
        assert "qemu-system-arm" in said.missing
        assert "qemu-system-arm" in said.install
        assert "qemu-system-arm" not in BACKEND.tools()
    finally:
        version.cache_clear()


def test_the_version_of_qemu_enters_the_keys_of_no_board_that_unicorn_runs() -> None:
    assert "qemu-system-arm" not in BACKEND.tools(load_target("cortex-m4"))
    assert "qemu-system-arm" not in BACKEND.tools(load_target("linux-aarch64"))
    assert BACKEND.tools(load_target("cortex-m55")) == BACKEND.tools()


@pytest.mark.parametrize(
    ("code", "said"),
    [(0xDEFF, "crashes on the emulated cortex-m55"), (0xE7FE, "does not finish on the emulated cortex-m55")],
)
def test_a_crash_and_an_endless_loop_in_qemu_are_check_errors(
    code: int, said: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sprue.targets.c.devices import emulator

    target = load_target("cortex-m55")
    need(target)
    monkeypatch.setattr(emulator, "SECONDS", 1)
    built(request, "tiny_cnn", Variant(target, "c", "float32"), tmp_path / "artifact")
    device = load(patched(tmp_path / "artifact", tmp_path, struct.pack("<H", code)), target)
    with pytest.raises(CheckError, match=said):
        device.run({"image": np.zeros((1, 1, 8, 8), np.float32)})
