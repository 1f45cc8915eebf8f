"""What `check` predicts is what the build then finds: flash, RAM and instructions of the artifact itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from sprue.targets.c import BACKEND, toolchain
from sprue.targets.c.devices import unicorn_core

from sprue.backend import Prediction, Profile, Variant
from sprue.data import read_arrays
from sprue.graph import read_model
from sprue.target import Precision, load_target
from tests.thinning import thinned

from .random_graphs import network

pytestmark = pytest.mark.slow

pytest.importorskip("ziglang", reason="needs the extra embedded")
pytest.importorskip("unicorn", reason="needs the extra embedded")
pytest.importorskip("capstone", reason="needs the extra embedded")

Samples = dict[str, NDArray[Any]]
PROJECT = Path(__file__).resolve().parents[3]
TINY = Path(os.environ.get("SPRUE_DATA", PROJECT.parent / "shared" / "data")) / "mlperf-tiny"


def variant(precision: Precision, **changes: Any) -> Variant:
    return Variant(replace(load_target("cortex-m4"), **changes), "c", precision)


def predicted(model: ModelProto, samples: Samples, wanted: Variant) -> Prediction:
    assert BACKEND.check(model, wanted) == []
    made: Prediction = BACKEND.predict(model, wanted, samples)()
    return made


def built(model: ModelProto, samples: Samples, wanted: Variant, out: Path) -> Profile:
    for change in BACKEND.passes(wanted):
        model = change.apply(model, samples)
    BACKEND.compile(model, wanted, samples, out)
    made: Profile = BACKEND.load(out, wanted).profile()
    return made


def assert_true(model: ModelProto, samples: Samples, wanted: Variant, out: Path) -> None:
    found = predicted(model, samples, wanted)
    report = built(model, samples, wanted, out)
    arena = json.loads((out / "report.json").read_bytes())["arena"]
    assert found.findings == ()
    assert not found.least
    assert (found.profile.flash, found.profile.ram) == (report.flash, report.ram)
    bytes_, bound = (arena[key] for key in ("bytes", "lower_bound"))
    assert found.profile.notes["arena"] == f"{bytes_} bytes (no plan needs less than {bound})"
    for one, other in (
        (found.profile.instructions, report.instructions),
        (found.profile.cycles, report.cycles),
    ):
        assert one is not None
        assert other is not None
        assert abs(one - other) <= 0.1 * other


@pytest.mark.parametrize("precision", ["float32", "int8-static"])
@pytest.mark.parametrize("name", ["digits", "intent"])
def test_a_sample_model_needs_what_was_predicted(name: str, precision: Precision, tmp_path: Path) -> None:
    folder = PROJECT / "models" / name
    samples = read_arrays(folder / "calibration.npz")
    assert_true(read_model(folder / f"{name}.onnx"), samples, variant(precision), tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ai_edge_litert", reason="needs the extra mobile")
    if not TINY.is_dir():
        pytest.skip(f"{TINY} is not here")
    out = tmp_path_factory.mktemp("tiny")
    script = [sys.executable, str(PROJECT / "models" / "mlperf_tiny" / "import_tflite.py"), "--out", str(out)]
    subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
    return out / "models"


@pytest.mark.parametrize("name", thinned(["kws", "vww", "resnet", "ad01"], 2))
def test_an_mlperf_tiny_model_needs_what_was_predicted(name: str, tiny: Path, tmp_path: Path) -> None:
    samples = read_arrays(tiny / name / "calibration.npz")
    assert_true(read_model(tiny / name / "model.onnx"), samples, variant("int8-static"), tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_a_random_network_needs_what_was_predicted(seed: int, tmp_path: Path) -> None:
    model, x = network(1000 + seed)
    wanted = variant("int8-static" if seed % 2 else "float32")
    assert_true(model, {"x": x}, replace(wanted, border="int8") if seed % 4 == 3 else wanted, tmp_path)


@pytest.mark.parametrize("board", ["cortex-m0plus", "riscv32"])
def test_another_board_needs_what_was_predicted(board: str, tmp_path: Path) -> None:
    """They multiply in fixed point; of riscv32, which is no core in particular, no cycles are known."""
    model, x = network(1001)
    wanted = Variant(load_target(board), "c", "int8-static")
    found = predicted(model, {"x": x}, wanted).profile
    report = built(model, {"x": x}, wanted, tmp_path)
    assert (found.cycles is None) == (board == "riscv32")
    assert found.cycles == report.cycles
    assert (found.flash, found.ram, found.instructions) == (report.flash, report.ram, report.instructions)


def test_more_calibration_samples_than_are_looked_at_are_named(tmp_path: Path) -> None:
    """A tenth of a percent is what other scales may change of the code."""
    model, x = network(1001)
    samples = {
        "x": np.concatenate([x] * 40) * np.linspace(0.5, 1, 320, dtype=np.float32)[:, None, None, None]
    }
    found = predicted(model, samples, variant("int8-static"))
    assert "256 of 320" in found.profile.notes["calibration"]
    report = built(model, samples, variant("int8-static"), tmp_path)
    assert found.profile.ram == report.ram
    assert report.flash is not None
    assert found.profile.flash == pytest.approx(report.flash, abs=0.001 * report.flash)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(toolchain, "build_firmware", refuse)


@pytest.mark.usefixtures("no_compiler")
def test_what_cannot_fit_is_not_compiled_and_names_tensors_and_layers() -> None:
    folder = PROJECT / "models" / "digits"
    model, samples = read_model(folder / "digits.onnx"), read_arrays(folder / "calibration.npz")
    small = variant("int8-static", limit_ram=2900, limit_flash=9000)
    found = BACKEND.predict(model, small, samples)()
    ram, flash = found.findings
    assert found.least
    assert f"at least {found.profile.ram} bytes of RAM, the limit is 2900" in ram.reason
    assert ram.node
    assert "'" in ram.reason.partition("most while this runs: ")[2]
    assert "limit.ram" in ram.remedy
    assert f"at least {found.profile.flash} bytes of flash, the limit is 9000" in flash.reason
    assert any(f"'{node.name}' " in flash.reason for node in model.graph.node)
    assert "int8-static" not in flash.remedy, "it is that already"


def test_code_and_stack_count_for_a_limit_too() -> None:
    folder = PROJECT / "models" / "digits"
    model, samples = read_model(folder / "digits.onnx"), read_arrays(folder / "calibration.npz")
    whole = predicted(model, samples, variant("int8-static")).profile
    assert whole.flash is not None
    assert whole.ram is not None
    exactly = variant("int8-static", limit_ram=whole.ram, limit_flash=whole.flash)
    assert predicted(model, samples, exactly).findings == ()
    less = variant("int8-static", limit_ram=whole.ram - 1, limit_flash=whole.flash - 1)
    found = predicted(model, samples, less)
    assert [f.kind for f in found.findings] == ["limit", "limit"]
    assert all("at least" not in f.reason for f in found.findings)


def test_without_an_emulator_flash_and_static_ram_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it is absent is pretended: which packages are there differs from one machine to the next."""
    model, x = network(1001)
    whole = predicted(model, {"x": x}, variant("int8-static")).profile
    monkeypatch.setattr(unicorn_core, "available", lambda: False)
    known = predicted(model, {"x": x}, variant("int8-static")).profile
    assert known.flash == whole.flash
    assert known.ram is not None
    assert whole.ram is not None
    assert known.ram + int(whole.notes["stack"].split()[0]) == whole.ram
    assert known.instructions is None
    assert "without the stack" in known.notes["ram"]


def test_check_says_on_the_command_line_what_the_build_reports(
    project: Path, sprue: Callable[..., Any]
) -> None:
    """The recipe of tests/conftest.py, for a microcontroller."""
    recipe = project / "recipes" / "tiny.toml"
    recipe.write_text('model = "tiny"\n[accept]\nmax_drop = 0.5\n[target.cortex-m4]\nprecision = ["int8"]\n')
    check = json.loads(sprue(project, "check", recipe, "--json").stdout)
    said = check["variants"][0]["predicted"]
    build = json.loads(sprue(project, "build", recipe, "--json").stdout)
    tried = build["targets"][0]["variants"][0]
    assert check["ok"]
    assert {k: said[k] for k in ("flash", "ram")} == {k: tried[k] for k in ("flash", "ram")}
    for key in ("instructions", "cycles", "estimate"):
        assert said[key] == pytest.approx(tried[key], rel=0.1)
    assert tried["estimate"] == pytest.approx(tried["cycles"] / 120e6, rel=1e-5)
    told = sprue(project, "check", recipe)
    assert told.returncode == 0
    assert "of 256.0 KiB" in told.stdout
    assert f"arena {said['notes']['arena']}, stack {said['notes']['stack']}" in told.stdout
    recipe.write_text(recipe.read_text() + 'limit.flash = "300 B"\n')
    refused = sprue(project, "check", recipe)
    assert refused.returncode == 1
    assert "the limit is 300; most weights: '" in refused.stdout
