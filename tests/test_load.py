"""The loader that ships beside an artifact, run as its users run it, with the real runtimes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprue.bundle.check import check_bundle
from sprue.load import damaged, this_machine, unmet, within

Done = subprocess.CompletedProcess[str]
HERE = this_machine(["onnxruntime"])
ORT = HERE["runtime"]["onnxruntime"]
ANYWHERE: dict[str, Any] = {"os": "any", "arch": "any", "features": [], "runtime": {}, "engine": {}}
TARGET = """description = "this very machine, whatever it is"
backends = ["{backend}"]
[platform]
os = "{os}"
arch = "any"
"""


def build(project: Path, sprue: Callable[..., Done], *backends: str) -> Path:
    (project / "targets").mkdir(exist_ok=True)
    for backend in backends:
        text = TARGET.format(backend=backend, os=HERE["os"])
        (project / "targets" / f"on-{backend}.toml").write_text(text)
    wanted = "".join(f"[target.on-{b}]\n" for b in backends)
    (project / "recipes" / "tiny.toml").write_text(f'model = "tiny"\n{wanted}')
    done = sprue(project, "build", "recipes/tiny.toml")
    assert done.returncode == 0, done.stderr
    return next((project / "bundles" / "tiny").glob("*-*/"))


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory, sprue: Callable[..., Done]) -> Path:
    project = shutil.copytree(template, tmp_path_factory.mktemp("load") / "project")
    return build(project, sprue, "onnxruntime") / "targets" / "on-onnxruntime"


@pytest.fixture
def deployed(whole: Path, tmp_path: Path) -> Path:
    """A copy of one target's folder alone, as it is put into a container."""
    made = shutil.copytree(whole, tmp_path / "deployed")
    for path in made.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return made


def run(folder: Path, *arguments: str) -> Done:
    command = [sys.executable, "-I", "-B", str(folder / "load.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def change(folder: Path, **requires: Any) -> None:
    path = folder / "contract.json"
    value = json.loads(path.read_text())
    value["requires"] |= requires
    path.write_text(json.dumps(value))


def test_it_answers_as_the_bundle_says_where_the_contract_holds(deployed: Path) -> None:
    done = run(deployed)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "the contract holds, and 8 golden samples are answered as before\n"


def test_a_program_gets_outputs_by_name_and_leaves_no_file_behind(deployed: Path) -> None:
    before = sorted(deployed.rglob("*"))
    program = """
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
from load import load
sys.dont_write_bytecode = False
import numpy as np
golden = np.load(sys.argv[1] + "/golden/inputs.npz")
made = load()(dict(golden))
np.save(sys.argv[2], made["y"])
"""
    out = deployed.parent / "y.npy"
    subprocess.run([sys.executable, "-I", "-c", program, str(deployed), str(out)], check=True, timeout=60)
    with np.load(deployed / "golden" / "outputs.npz") as golden:
        np.testing.assert_allclose(np.load(out), golden["y"], rtol=1e-6)
    assert sorted(deployed.rglob("*")) == before


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        ({"runtime": {"onnxruntime": ">=99,<100"}}, f"onnxruntime is {ORT}, it needs >=99,<100"),
        ({"runtime": {"onnxruntime": "<1"}}, "pip install 'onnxruntime<1'"),
        ({"runtime": {"no-such-runtime": ">=1"}}, "no-such-runtime is not installed"),
        ({"features": ["avx1024"]}, "the processor has no avx1024"),
        ({"os": "plan9"}, f"it is for os plan9, this is {HERE['os']}"),
        ({"arch": "vax"}, f"it is for arch vax, this is {HERE['arch']}"),
        ({"engine": {"compute-capability": "0.1"}}, "its engine is for compute-capability 0.1, this is "),
    ],
)  # fmt: skip
def test_a_contract_that_does_not_hold_is_refused_with_the_reason(
    requires: dict[str, Any], said: str
) -> None:
    (why,) = unmet({**ANYWHERE, **requires}, HERE)
    assert said in why


def test_all_reasons_are_said_at_once_and_nothing_is_opened(deployed: Path) -> None:
    change(deployed, os="plan9", features=["avx1024"], runtime={"no-such-runtime": ">=1"})
    # The runtime would say so if it were reached: nothing may be opened before the contract holds.
    (deployed / "runtime.py").write_text("raise SystemExit('opened')")
    done = run(deployed)
    assert done.returncode == 1
    assert [done.stderr.count(word) for word in ("plan9", "avx1024", "no-such-runtime is")] == [1, 1, 1]
    assert "opened" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", ["artifact/model.onnx", "runtime.py", "golden/outputs.npz"])
def test_a_damaged_or_missing_file_is_refused(deployed: Path, path: str) -> None:
    files = json.loads((deployed / "contract.json").read_text())["files"]
    data = (deployed / path).read_bytes()
    flipped = bytes([data[0] ^ 1]) + data[1:], data[:-1] + bytes([data[-1] ^ 1])
    for spoiled in (b"", data[:-1], data + b"\n", *flipped):
        (deployed / path).write_bytes(spoiled)
        assert damaged(deployed, files) == [f"{path} is damaged: fetch it again"]
    (deployed / path).unlink()
    assert f"{path} cannot be read" in run(deployed).stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema":"sprue-contract/2"}', "[" * 100_000])
def test_what_is_no_contract_is_refused(deployed: Path, text: str) -> None:
    (deployed / "contract.json").write_text(text)
    done = run(deployed)
    assert done.returncode == 1
    assert "contract.json cannot be read" in done.stderr


def test_a_file_outside_of_the_folder_is_never_read(deployed: Path) -> None:
    path = deployed / "contract.json"
    value = json.loads(path.read_text())
    value["files"] |= {"../x": "0" * 64, "/etc/passwd": "0" * 64}
    path.write_text(json.dumps(value))
    said = run(deployed).stderr
    assert "../x leaves its folder" in said
    assert "/etc/passwd leaves its folder" in said


def test_an_answer_that_is_another_one_is_refused(deployed: Path) -> None:
    """As if the contract were too wide for the runtime that is here."""
    path = deployed / "contract.json"
    value = json.loads(path.read_text())
    with np.load(deployed / "golden" / "outputs.npz") as golden:
        np.savez(deployed / "golden" / "outputs.npz", allow_pickle=False, y=golden["y"] + 1)
    from sprue.canonical import file_digest

    value["files"]["golden/outputs.npz"] = file_digest(deployed / "golden" / "outputs.npz")
    path.write_text(json.dumps(value))
    done = run(deployed)
    assert done.returncode == 1
    assert "output 'y' is not what it was when the bundle was made" in done.stderr


def test_the_manifest_asks_for_the_same(whole: Path) -> None:
    (entry,) = check_bundle(whole.parents[1]).manifest.targets
    assert entry.requires() == json.loads((whole / "contract.json").read_text())["requires"]
    assert entry.family == entry.id


@pytest.mark.slow
def test_every_runtime_is_opened_by_its_loader(project: Path, sprue: Callable[..., Done]) -> None:
    backends = ("onnxruntime", "openvino", "tflite")
    for package in ("openvino", "ai_edge_litert"):
        pytest.importorskip(package, exc_type=ImportError)
    folder = build(project, sprue, *backends)
    for backend in backends:
        done = run(folder / "targets" / f"on-{backend}")
        assert done.stdout == "the contract holds, and 8 golden samples are answered as before\n", done.stderr
    loaders = {(folder / "targets" / f"on-{b}" / "load.py").read_bytes() for b in backends}
    assert len(loaders) == 1
    check_bundle(folder)


def test_the_machine_is_described_as_its_own_tools_describe_it(deployed: Path) -> None:
    told = json.loads(run(deployed, "--machine").stdout)
    import onnxruntime

    assert told["runtime"] == {"onnxruntime": onnxruntime.__version__}
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith(("flags", "Features"))).split(":")[1].split()
    assert set(told["features"]) == {f.replace("_", "-") for f in flags}
    assert unmet(ANYWHERE, told) == []


@pytest.mark.parametrize(
    ("version", "versions", "holds"),
    [
        ("1.22", ">=1.22,<2", True), ("1.22.0", ">=1.22", True), ("1.21.9", ">=1.22", False),
        ("1.100", ">=1.22,<2", True), ("2", "<2", False), ("2.0.0", "<2", False), ("1.9.9", "<2", True),
        ("10.9.0.34", "==10.9.0.34", True), ("10.9.0", "==10.9.0.34", False), ("1.23.0rc1", ">=1.23", True),
        ("1.23.0+cpu", "==1.23", True), ("unknown", ">=1", False),
    ],
)  # fmt: skip
def test_versions_are_held_against_ranges_by_their_numbers(version: str, versions: str, holds: bool) -> None:
    assert within(version, versions) is holds


def test_ranges_agree_with_packaging_where_it_has_an_opinion() -> None:
    """https://packaging.pypa.io: the reference implementation of version specifiers, for releases."""
    specifiers = pytest.importorskip("packaging.specifiers")
    numbers = ("0", "1", "1.0", "1.2", "1.2.0", "1.2.1", "1.10", "2", "2.0.0.1", "10")
    ranges = [f"{sign}{n}" for sign in (">=", "<", "==") for n in numbers] + [">=1.2,<2", ">=1,<1.10,>=1.2"]
    for version in numbers:
        for wanted in ranges:
            assert within(version, wanted) is (version in specifiers.SpecifierSet(wanted)), (version, wanted)


def test_features_that_cannot_be_told_are_not_taken_for_granted() -> None:
    machine = HERE | {"features": None}
    assert unmet(ANYWHERE | {"features": ["avx2"]}, machine) == [
        "whether the processor has avx2 cannot be told here"
    ]
    assert unmet(ANYWHERE, machine) == []
