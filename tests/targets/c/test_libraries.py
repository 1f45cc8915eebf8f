"""Shared libraries for hosts: what they hold, what runs them, and what refuses a damaged one."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from sprue.targets.c import BACKEND, deployed
from sprue.targets.c.devices import host
from sprue.targets.c.devices.shared_object import read_shared_object
from sprue.targets.c.library import LIBRARY

from sprue.backend import Variant
from sprue.errors import SprueError
from sprue.target import Precision, Target, load_target

from .models import reference

pytest.importorskip("ziglang", reason="needs the extra embedded")

Samples = dict[str, NDArray[Any]]
HERE = Variant(load_target(f"linux-{platform.machine().replace('_', '-')}"), "c", "float32")
ARM = Variant(load_target("linux-aarch64"), "c", "float32")


@pytest.fixture(scope="module")
def case(tiny_cnn: tuple[ModelProto, Samples]) -> tuple[ModelProto, Samples]:
    model, samples = tiny_cnn
    for change in BACKEND.passes(HERE):
        model = change.apply(model, samples)
    return model, {name: array[:6] for name, array in samples.items()}


@pytest.fixture(scope="module")
def expected(case: tuple[ModelProto, Samples]) -> Samples:
    model, samples = case
    rows = [reference(model, {n: a[i : i + 1] for n, a in samples.items()}) for i in range(6)]
    return {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def build(
    case: tuple[ModelProto, Samples], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Variant], Path]:
    made: dict[Variant, Path] = {}

    def compiled(variant: Variant) -> Path:
        if variant not in made:
            made[variant] = tmp_path_factory.mktemp("library")
            BACKEND.compile(*case[:1], variant, case[1], made[variant])
        return made[variant]

    return compiled


def close(actual: Samples, expected: Samples) -> None:
    for name, wanted in expected.items():
        np.testing.assert_allclose(actual[name], wanted, rtol=1e-4, atol=1e-5)


def test_a_library_runs_natively_and_in_threads_and_answers_as_onnxruntime_does(
    case: tuple[ModelProto, Samples], expected: Samples, build: Callable[[Variant], Path]
) -> None:
    artifact = build(HERE)
    runner = BACKEND.load(artifact, HERE)
    if runner.execution != "native":
        pytest.skip("this processor lacks what the target names")
    close(runner.run(case[1]), expected)
    assert runner.profile().flash == (artifact / LIBRARY).stat().st_size
    run = deployed.open_artifact(artifact / LIBRARY, {})
    with ThreadPoolExecutor(4) as pool:
        for made in pool.map(run, [case[1]] * 32):
            close(made, expected)


def test_a_library_for_64_bit_arm_runs_emulated_and_counts_instructions(
    case: tuple[ModelProto, Samples], expected: Samples, build: Callable[[Variant], Path]
) -> None:
    runner = BACKEND.load(build(ARM), ARM)
    close(runner.run(case[1]), expected)
    if platform.machine() == "aarch64":
        return
    assert runner.execution == "emulated"
    counts = [o.instructions or 0 for o in runner.operators({n: a[:1] for n, a in case[1].items()})]
    assert 0 < sum(counts) <= (runner.profile().instructions or 0) * 1.1
    assert min(counts) > 0


def test_on_another_processor_the_sources_stand_in(
    case: tuple[ModelProto, Samples], expected: Samples, build: Callable[[Variant], Path]
) -> None:
    lacking = replace(HERE, target=replace(HERE.target, arch="x86_64", features=("avx512-vnni",)))
    runner = host.load(build(lacking), lacking.target, native=False)
    assert runner.execution == "stand-in"
    close(runner.run(case[1]), expected)
    contract = BACKEND.contract(build(HERE), HERE)
    assert set(HERE.target.features) <= set(contract.features)
    assert contract.loader is not None


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs binutils")
@pytest.mark.parametrize("variant", [HERE, ARM], ids=["here", "arm"])
def test_a_library_exports_what_its_header_declares_and_needs_no_other(
    build: Callable[[Variant], Path], variant: Variant
) -> None:
    artifact = build(variant)
    command = ["readelf", "-W", "--dynamic", "--dyn-syms", "--relocs", artifact / LIBRARY]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not any(word in said for word in ("NEEDED", "INIT", "FINI", "R_X86", "R_AARCH64"))
    rows = [line.split() for line in said.splitlines() if " FUNC " in line]
    assert "UND" not in {row[6] for row in rows}
    header = (artifact / "src" / "model.h").read_text()
    assert {row[7] for row in rows} == set(read_shared_object(artifact / LIBRARY).symbols)
    assert all(f"{row[7]}(void);" in header for row in rows)


def test_a_damaged_library_is_refused_before_anything_loads_it(
    build: Callable[[Variant], Path], tmp_path: Path
) -> None:
    shutil.copytree(build(HERE), tmp_path, dirs_exist_ok=True)
    library = tmp_path / LIBRARY
    whole = library.read_bytes()
    for at in range(0, len(whole), len(whole) // 97):
        library.write_bytes(whole[:at])
        with pytest.raises(SprueError, match="build it again"):
            host.load(tmp_path, HERE.target, native=True)
        library.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with pytest.raises(SprueError, match="build it"):
            host.load(tmp_path, HERE.target, native=True)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (replace(HERE.target, os="windows"), "shared libraries for linux"),
        (replace(HERE.target, features=("avx",)), "no feature 'avx'"),
    ],
)
def test_what_no_library_is_made_for_is_a_finding(
    case: tuple[ModelProto, Samples], target: Target, said: str
) -> None:
    precision: Precision = "float32"
    found = BACKEND.check(case[0], Variant(target, "c", precision))
    assert said in found[0].reason
