"""`sprue bundle install`: one artifact out of a bundle, ready to load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.load import this_machine

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

FEATURES = this_machine()["features"] or []
TARGET = """description = "a machine like this one"
family = "here"
backends = ["onnxruntime"]
[platform]
os = "linux"
arch = "any"
features = {features}
"""


@pytest.fixture
def built(project: Path, sprue_here: Run) -> Path:
    """A bundle with two members of one family, of which only the plain one can be loaded anywhere."""
    (project / "targets").mkdir()
    for name, features in (("plain", []), ("special", FEATURES[:2]), ("future", ["avx1024"])):
        text = TARGET.format(features=json.dumps(features))
        (project / "targets" / f"{name}.toml").write_text(text)
    wanted = "[target.plain]\n[target.special]\n[target.future]\n"
    (project / "recipes" / "tiny.toml").write_text(f'model = "tiny"\n{wanted}')
    done = sprue_here("build", "recipes/tiny.toml")
    assert done.returncode == 0, done.stderr
    return project


@pytest.mark.slow
@pytest.mark.skipif(len(FEATURES) < 2, reason="the processor's features cannot be told here")
def test_the_best_artifact_is_installed_and_loads(built: Path, sprue_here: Run, tmp_path: Path) -> None:
    done = sprue_here("bundle", "install", "tiny", str(tmp_path / "app"), "--for-this-machine", "--json")
    said = json.loads(done.stdout)
    assert said["target"] == "special"
    assert said["refused"] == {"future": ["the processor has no avx1024"]}
    loaded = subprocess.run(
        [sys.executable, "-I", "-B", str(tmp_path / "app" / "load.py")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    assert sorted(p.name for p in (tmp_path / "app").iterdir()) == [
        "artifact", "contract.json", "golden", "load.py", "runtime.py",
    ]  # fmt: skip
    states = json.loads(sprue_here("bundle", "show", "tiny", "--json").stdout)["targets"]
    # What this processor cannot run was not executed here, so the bundle does not say that it was.
    assert {t["id"]: t["state"] for t in states} == {
        "plain": "verified", "special": "verified", "future": "prepared",
    }  # fmt: skip
    refused = sprue_here("bundle", "install", "tiny", str(tmp_path / "x"), "--target", "futur")
    assert "did you mean 'future'" in refused.stderr
    taken = sprue_here("bundle", "install", "tiny", str(tmp_path / "app"), "--target", "plain")
    assert (taken.returncode, "exists already" in taken.stderr) == (2, True)
    path = next((built / "bundles").glob("tiny/*-*/targets/plain/artifact/model.onnx"))
    path.chmod(0o644)
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    torn = sprue_here("bundle", "install", "tiny", str(tmp_path / "y"), "--target", "plain")
    assert (torn.returncode, "targets/plain/artifact/model.onnx is damaged" in torn.stderr) == (1, True)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name in "xy" or p.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not the description of a machine"),
        ('{"os":"linux"}', "arch: Field required"),
        ('{"os":"linux","os":"x"}', "stands twice"),
        ("[" * 100_000, "not the description of a machine"),
    ],
)
def test_what_describes_no_machine_is_refused(tmp_path: Path, text: str, said: str) -> None:
    from sprue.bundle.select import read_machine
    from sprue.errors import SprueError

    (tmp_path / "machine.json").write_text(text)
    with pytest.raises(SprueError, match=said):
        read_machine(tmp_path / "machine.json")


@pytest.mark.slow
@pytest.mark.skipif("avx2" not in FEATURES, reason="the shipped server targets want x86 with AVX2")
def test_the_shipped_server_family_has_a_member_for_each_processor(
    project: Path, sprue_here: Run, tmp_path: Path
) -> None:
    """One recipe, three artifacts: int8 in 7 bits for AVX2, in 8 for VNNI and for Arm."""
    members = ("server-cpu", "server-cpu-vnni", "server-arm")
    wanted = "".join(f'[target.{m}]\nprecision = "int8"\n' for m in members)
    text = f'model = "tiny"\n[accept]\nmax_drop = 0.5\nsteps = 100.0\n{wanted}'
    (project / "recipes" / "tiny.toml").write_text(text)
    done = sprue_here("build", "recipes/tiny.toml")
    assert done.returncode == 0, done.stderr
    here = "server-cpu-vnni" if "avx512-vnni" in FEATURES else "server-cpu"
    show = json.loads(sprue_here("bundle", "show", "tiny", "--json").stdout)
    states = {t["id"]: t["state"] for t in show["targets"]}
    assert states["server-arm"] == "prepared"
    assert {states["server-cpu"], states[here]} == {"verified"}
    said = sprue_here("bundle", "install", "tiny", str(tmp_path / "x"), "--for-this-machine", "--json")
    assert json.loads(said.stdout)["target"] == here
    arm = {"os": "linux", "arch": "aarch64", "features": ["asimd"], "engine": {}}
    arm["runtime"] = this_machine(["onnxruntime"])["runtime"]
    (tmp_path / "arm.json").write_text(json.dumps(arm))
    machine = ("--machine", str(tmp_path / "arm.json"), "--family", "server-cpu", "--json")
    said = sprue_here("bundle", "install", "tiny", str(tmp_path / "y"), *machine)
    assert json.loads(said.stdout)["target"] == "server-arm"
    digests = {
        name: file["sha256"]
        for file in show["files"]
        for name in members
        if file["path"] == f"targets/{name}/artifact/model.onnx"
    }
    assert digests["server-cpu-vnni"] == digests["server-arm"] != digests["server-cpu"]
