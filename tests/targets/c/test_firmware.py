"""The firmware: the emulator computes what the host computes, counts exactly, and survives bad firmware."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from sprue.targets.c import BACKEND
from sprue.targets.c.devices.device import Device
from sprue.targets.c.devices.elf import read_firmware

from sprue.backend import Variant
from sprue.errors import CheckError, SprueError
from sprue.target import Precision, load_target

from .host import PLAIN, build, fused
from .models import single, source

pytestmark = pytest.mark.slow

pytest.importorskip("ziglang", reason="needs the extra embedded")
pytest.importorskip("unicorn", reason="needs the extra embedded")

Case = tuple[ModelProto, dict[str, NDArray[Any]]]
M4 = load_target("cortex-m4")
VARIANTS: list[tuple[str, Precision]] = [
    (network, precision)
    for network in ("tiny_cnn", "tiny_bilstm")
    for precision in ("float32", "int8-static")
]


@pytest.fixture(scope="module")
def artifacts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    made = {}
    for network, precision in VARIANTS:
        model, samples = transformed(request.getfixturevalue(network), precision)
        out = tmp_path_factory.mktemp(f"{network}-{precision}")
        BACKEND.compile(model, Variant(M4, "c", precision), samples, out)
        made[network, precision] = out
    return made


def transformed(case: Case, precision: Precision) -> Case:
    model, samples = case
    for change in BACKEND.passes(Variant(M4, "c", precision)):
        model = change.apply(model, samples)
    return model, samples


def device(artifact: Path) -> Device:
    return BACKEND.load(artifact, Variant(M4, "c", "float32"))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for the host build")
@pytest.mark.parametrize(("network", "precision"), VARIANTS)
def test_the_emulated_device_computes_what_the_host_computes(
    network: str,
    precision: Precision,
    artifacts: dict[Any, Path],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    model, samples = transformed(request.getfixturevalue(network), precision)
    flags = fused()
    host = build(tmp_path, [source(model, "m0")], (*PLAIN, *flags))
    few = {name: array[:5] for name, array in samples.items()}
    emulated = device(artifacts[network, precision]).run(few)["logits"]
    rows = [host.run(0, {n: a[i : i + 1] for n, a in few.items()})["logits"] for i in range(5)]
    if flags:
        np.testing.assert_array_equal(emulated, np.concatenate(rows))
    else:
        np.testing.assert_allclose(emulated, np.concatenate(rows), rtol=1e-4, atol=1e-5)


def test_the_count_by_block_is_the_count_one_by_one_plus_what_it_blocks_skip(
    artifacts: dict[Any, Path],
) -> None:
    from unicorn import UC_HOOK_BLOCK, UC_HOOK_CODE

    runner = device(artifacts["tiny_cnn", "int8-static"])
    zeros = {"image": np.zeros((1, 1, 8, 8), np.float32)}
    uc = runner._emulator._probe._uc
    issued: Counter[int] = Counter()
    stepped: Counter[int] = Counter()

    def block(_uc: object, address: int, size: int, _data: object) -> None:
        at = 0
        code = bytes(uc.mem_read(address, size))
        while at < size:
            issued[address + at] += 1
            at += 4 if code[at + 1] >= 0xE8 else 2

    uc.ctl_flush_tb()
    hooks = [uc.hook_add(UC_HOOK_BLOCK, block)]
    hooks.append(uc.hook_add(UC_HOOK_CODE, lambda _uc, address, _size, _data: stepped.update([address])))
    runner._emulator.run(zeros)
    for hook in hooks:
        uc.hook_del(hook)
    assert runner._emulator.count(zeros).instructions == sum(issued.values()) > 1000
    for address in issued:
        if stepped[address] != issued[address]:
            before = np.frombuffer(bytes(uc.mem_read(address - 14, 14)), "<u2")
            assert any(half >> 8 == 0xBF and half & 0xF for half in before.tolist()), (
                "not after an IT instruction"
            )


@pytest.mark.parametrize(("network", "precision"), VARIANTS)
def test_a_profile_knows_flash_ram_and_instructions(
    network: str, precision: Precision, artifacts: dict[Any, Path]
) -> None:
    artifact = artifacts[network, precision]
    profile = device(artifact).profile()
    assert profile.flash
    assert profile.ram
    assert profile.instructions
    firmware = read_firmware(artifact / "firmware.elf")
    assert profile.flash < (artifact / "firmware.elf").stat().st_size
    assert firmware.arena <= firmware.ram < profile.ram < firmware.arena + 2048
    assert profile == device(artifact).profile()


@pytest.mark.parametrize("precision", ["float32", "int8-static"])
@pytest.mark.parametrize("network", ["tiny_cnn", "tiny_bilstm"])
def test_the_instructions_of_the_calls_are_those_of_the_run_but_for_the_calling(
    network: str, precision: Precision, artifacts: dict[Any, Path], request: pytest.FixtureRequest
) -> None:
    _, samples = transformed(request.getfixturevalue(network), precision)
    loaded = device(artifacts[network, precision])
    one = {name: array[:1] for name, array in samples.items()}
    operators = loaded.operators(one)
    steps = json.loads((artifacts[network, precision] / "report.json").read_bytes())["steps"]
    assert [(o.name, o.op) for o in operators] == [(s["node"], s["op"]) for s in steps]
    counted = loaded._emulator.count({name: array[0] for name, array in one.items()}).instructions
    calling = counted - sum(o.instructions or 0 for o in operators)
    assert 0 < calling <= 10 * len(steps) + 20, "a call needs a handful of instructions to load its arguments"


def test_a_report_that_names_other_calls_is_refused(artifacts: dict[Any, Path], tmp_path: Path) -> None:
    shutil.copytree(artifacts["tiny_cnn", "float32"], tmp_path / "artifact")
    report = tmp_path / "artifact" / "report.json"
    said = json.loads(report.read_bytes())
    del said["steps"][0]
    report.write_text(json.dumps(said))
    zeros = {"image": np.zeros((1, 1, 8, 8), np.float32)}
    with pytest.raises(SprueError, match=r"the firmware makes \d+ calls, its report names"):
        device(tmp_path / "artifact").operators(zeros)
    report.write_text("{")
    with pytest.raises(SprueError, match="the report on the artifact is missing or damaged"):
        device(tmp_path / "artifact")


def test_int8_needs_less_of_everything(artifacts: dict[Any, Path]) -> None:
    small, large = (device(artifacts["tiny_cnn", p]).profile() for p in ("int8-static", "float32"))
    assert small.ram is not None
    assert large.ram is not None
    assert small.ram < large.ram


def test_a_run_gives_the_same_answer_whatever_ran_before(artifacts: dict[Any, Path], tiny_cnn: Case) -> None:
    image = tiny_cnn[1]["image"]
    runner = device(artifacts["tiny_cnn", "int8-static"])
    together = runner.run({"image": image[:6]})["logits"]
    alone = device(artifacts["tiny_cnn", "int8-static"]).run({"image": image[5:6]})["logits"]
    np.testing.assert_array_equal(together[5:6], alone)


def test_an_input_of_the_wrong_name_dtype_or_shape_is_refused(artifacts: dict[Any, Path]) -> None:
    runner = device(artifacts["tiny_cnn", "float32"])
    with pytest.raises(SprueError, match="'image' is missing"):
        runner.run({"picture": np.zeros((1, 1, 8, 8), np.float32)})
    with pytest.raises(SprueError, match="float64"):
        runner.run({"image": np.zeros((1, 1, 8, 8))})
    with pytest.raises(SprueError, match="takes float32"):
        runner.run({"image": np.zeros((1, 1, 9, 8), np.float32)})


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a host compiler")
@pytest.mark.parametrize(("network", "precision"), VARIANTS)
def test_the_self_test_passes_on_the_host_and_fails_when_a_weight_changes(
    network: str, precision: Precision, artifacts: dict[Any, Path], tmp_path: Path
) -> None:
    artifact = artifacts[network, precision]
    command = [
        "gcc",
        "-std=c99",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Wconversion",
        "-pedantic",
        "-Werror",
        "-fno-math-errno",
    ]
    subprocess.run(
        [*command, "-Isrc", "src/model.c", "test/selftest.c", "-o", tmp_path / "good"],
        cwd=artifact,
        check=True,
        timeout=60,
    )
    good = subprocess.run([tmp_path / "good"], capture_output=True, text=True, check=False, timeout=60)
    assert (good.returncode, good.stdout.split(":")[0]) == (0, "passed")

    text = (artifact / "src" / "model.c").read_text()
    head, tail = text.split("/* bias_", 1) if "/* bias_" in text else text.split("/* constant_", 1)
    start = tail.index("{\n") + 2
    (tmp_path / "model.c").write_text(
        head + "/* bias_" + tail[:start] + "    9999," + tail[tail.index(",", start) + 1 :]
    )
    shutil.copy(artifact / "src" / "model.h", tmp_path)
    shutil.copy(artifact / "test" / "selftest.c", tmp_path)
    bad_command = [*command[:-2], "-w", "-fno-math-errno", "model.c", "selftest.c", "-o", "bad"]
    subprocess.run(bad_command, cwd=tmp_path, check=True, timeout=60)
    bad = subprocess.run([tmp_path / "bad"], capture_output=True, text=True, check=False, timeout=60)
    assert (bad.returncode, bad.stdout.split(":")[0]) == (1, "FAILED")


def patched(artifact: Path, folder: Path, code: bytes) -> Path:
    """A copy whose run function begins with `code`."""
    copy = folder / "copy"
    shutil.copytree(artifact, copy)
    firmware = read_firmware(copy / "firmware.elf")
    path = copy / "firmware.elf"
    data = bytearray(path.read_bytes())
    segment = next(s for s in firmware.segments if s.load <= firmware.run < s.load + len(s.data))
    at = data.index(segment.data) + (firmware.run & ~1) - segment.load
    data[at : at + len(code)] = code
    path.write_bytes(bytes(data))
    return copy


def test_a_crash_in_the_firmware_is_a_check_error_that_names_it(
    artifacts: dict[Any, Path], tmp_path: Path
) -> None:
    undefined = struct.pack("<H", 0xDEFF)  # UDF #255
    runner = device(patched(artifacts["tiny_cnn", "float32"], tmp_path, undefined))
    with pytest.raises(CheckError, match="crashes on the emulated"):
        runner.run({"image": np.zeros((1, 1, 8, 8), np.float32)})


def test_firmware_that_never_returns_is_stopped(
    artifacts: dict[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sprue.targets.c.devices import emulator, unicorn_core

    monkeypatch.setattr(emulator, "SECONDS", 1)
    monkeypatch.setattr(unicorn_core, "BUDGET", 100_000)
    runner = device(patched(artifacts["tiny_cnn", "float32"], tmp_path, struct.pack("<H", 0xE7FE)))  # B .
    zeros = {"image": np.zeros((1, 1, 8, 8), np.float32)}
    with pytest.raises(CheckError, match="does not finish"):
        runner.run(zeros)
    with pytest.raises(CheckError, match="does not finish"):
        runner._emulator.count(zeros)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (0, b"\x7fELG"),
        (4, b"\x02"),  # 64 bits
        (18, b"\xf3\x00"),  # RISC-V
        (28, b"\xff\xff\xff\x7f"),  # program headers far outside
        (44, b"\xff\xff"),  # 65535 of them
        (32, b"\xf0\xff\xff\xff"),  # section headers at the end of the address space
    ],
)
def test_a_hostile_elf_file_is_refused(
    where: int, value: bytes, artifacts: dict[Any, Path], tmp_path: Path
) -> None:
    data = bytearray((artifacts["tiny_cnn", "float32"] / "firmware.elf").read_bytes())
    data[where : where + len(value)] = value
    (tmp_path / "firmware.elf").write_bytes(bytes(data))
    with pytest.raises(SprueError, match="firmware"):
        device(tmp_path)


def test_a_segment_that_wants_gigabytes_is_refused_before_they_are_mapped(
    artifacts: dict[Any, Path], tmp_path: Path
) -> None:
    data = bytearray((artifacts["tiny_cnn", "float32"] / "firmware.elf").read_bytes())
    (headers,) = struct.unpack_from("<I", data, 28)
    struct.pack_into("<I", data, headers + 20, 0xF0000000)  # p_memsz
    (tmp_path / "firmware.elf").write_bytes(bytes(data))
    with pytest.raises(SprueError, match="impossible sizes"):
        device(tmp_path)


@pytest.mark.slow
def test_no_truncation_and_no_flipped_byte_gets_past_as_anything_but_a_sprue_error(
    artifacts: dict[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sprue.targets.c.devices import emulator

    monkeypatch.setattr(emulator, "SECONDS", 1)
    whole = (artifacts["tiny_cnn", "int8-static"] / "firmware.elf").read_bytes()
    rng = np.random.default_rng(3)
    damaged = [whole[:n] for n in range(0, len(whole), 997)]
    for position in rng.integers(0, len(whole), 60).tolist():
        damaged.append(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
    for data in damaged:
        (tmp_path / "firmware.elf").write_bytes(data)
        try:
            device(tmp_path).run({"image": np.zeros((1, 1, 8, 8), np.float32)})
        except SprueError:
            continue


def test_an_artifact_without_firmware_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SprueError, match="no such firmware"):
        device(tmp_path)


def test_a_target_with_an_unknown_processor_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    strange = Variant(replace(M4, cpu="cortex-m5"), "c", "float32")
    with pytest.raises(SprueError, match="cortex-m5") as caught:
        BACKEND.compile(ModelProto(), strange, {}, tmp_path)
    assert "cortex-m4" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "cpu", "features"),
    [
        ("armv7em", "cortex-m7", ("dsp", "fpv5-sp")),
        ("armv8m", "cortex-m33", ("dsp", "fpv5-sp")),
        ("armv8m", "cortex-m33", ("fpv5-sp",)),
        ("armv7em", "cortex-m4", ()),
    ],
)
def test_another_core_is_only_other_data_and_int8_agrees_bit_for_bit(
    arch: str, cpu: str, features: tuple[str, ...], tiny_cnn: Case, tmp_path: Path, artifacts: dict[Any, Path]
) -> None:
    """Without `dsp` the portable code runs, without a floating point unit the compiler's library."""
    target = replace(M4, arch=arch, cpu=cpu, features=features)
    model, samples = transformed(tiny_cnn, "int8-static")
    other = Variant(target, "c", "int8-static")
    BACKEND.compile(model, other, samples, tmp_path)
    few = {"image": samples["image"][:4]}
    got = BACKEND.load(tmp_path, other).run(few)["logits"]
    np.testing.assert_array_equal(got, device(artifacts["tiny_cnn", "int8-static"]).run(few)["logits"])


def test_an_unknown_feature_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    strange = Variant(replace(M4, features=("mve2",)), "c", "float32")
    with pytest.raises(SprueError, match="mve2") as caught:
        BACKEND.compile(ModelProto(), strange, {}, tmp_path)
    assert "dsp" in caught.value.remedy


def test_an_output_beyond_the_calibrated_range_is_not_clipped(tmp_path: Path) -> None:
    """Each input alone stays within what was calibrated; together they make one eight times as large."""
    samples = {"x": np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32)}
    case = single("Gemm", {"x": samples["x"][:1]}, {"w": np.ones((8, 2), np.float32)})
    model, _ = transformed((case, samples), "int8-static")
    BACKEND.compile(model, Variant(M4, "c", "int8-static"), samples, tmp_path)
    together = device(tmp_path).run({"x": np.ones((1, 8), np.float32)})["y0"]
    np.testing.assert_allclose(together, [[8, 8]], rtol=0.02)
