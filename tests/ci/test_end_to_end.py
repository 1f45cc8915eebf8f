"""Every job of the printed matrix as a process, against a real docker-registry.

Judged by a build on one machine, and by skopeo.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sprue.ci.formats import Setting
from sprue.trust.keys import new_key

from .pipeline import GitHub, GitLab, Runner

pytestmark = pytest.mark.slow

Git = Callable[..., str]
Done = subprocess.CompletedProcess[str]

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ROOT / "tests" / "backends"
EDGE = """
description = "another place"
backends = ["null"]
runner = ["linux", "arm64"]
[platform]
os = "linux"
arch = "any"
"""


@pytest.fixture
def push(oci_url: str) -> str:
    """Where nobody has pushed anything yet."""
    return f"{oci_url}/{uuid4().hex}"


@pytest.fixture
def runner(project: Path, git: Git, tmp_path: Path, oci_url: str) -> Runner:
    """A repository with two recipes, `tiny` for two targets and `second` for one of them."""
    (project / "targets").mkdir()
    (project / "targets" / "edge.toml").write_text(EDGE)
    (project / "recipes" / "tiny.toml").write_text(
        'model = "tiny"\nversion = "1.2.3"\n[target.null]\n[target.edge]\n'
    )
    (project / "recipes" / "second.toml").write_text('model = "tiny"\n[target.null]\n')
    git("add", "--all")
    git("commit", "-q", "-m", "two recipes")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPRUE_", "SOURCE_DATE", "XDG_"))}
    (tmp_path / "work").mkdir()
    return Runner(project, tmp_path / "work", {**kept, "SPRUE_TARGETS": str(BACKENDS)})


def on_one_machine(runner: Runner, *recipes: str) -> dict[str, str]:
    """The ids of bundles that are built at once, in a checkout and with a cache of their own."""
    place = runner.checkout("alone")
    done = runner.shell(f"sprue build {' '.join(recipes)} --json", place, SPRUE_CACHE=str(place / "cache"))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return {r["recipe"]: r["bundle"]["id"] for r in said.get("recipes", [said])}


def skopeo(*arguments: str) -> Done:
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("skopeo is not installed (Debian's package of that name)")
    login = Path(os.environ["DOCKER_CONFIG"]) / "config.json"
    return subprocess.run(
        [program, arguments[0], f"--authfile={login}", *arguments[1:]],
        capture_output=True,
        text=True,
        check=False,
    )


def tags(push: str, name: str) -> list[str]:
    """The refs that skopeo sees; none where there is no repository."""
    reference = push.replace("oci://", "docker://")
    done = skopeo("list-tags", "--tls-verify=false", f"{reference}/{name}")
    found: list[str] = json.loads(done.stdout)["Tags"] if done.returncode == 0 else []
    return found


def test_what_github_s_jobs_seal_is_what_one_machine_would_have_built(
    runner: Runner, push: str, tmp_path: Path
) -> None:
    key = new_key("ci", tmp_path / "keys")
    secret = key.file.with_suffix(".key").read_text()
    pipeline = GitHub(runner, Setting(("recipes",), push, ("linux,arm64=small",)), secret)
    entries = pipeline.matrix()
    assert [(e["name"], e["runner"]) for e in entries] == [
        ("edge 1/1", ["small"]),
        ("null 1/2", ["ubuntu-latest"]),
        ("null 2/2", ["ubuntu-latest"]),
    ]
    for entry in entries[:-1]:
        done = pipeline.build(entry)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("```\ntarget")
    early, place = pipeline.seal("too early")
    assert early.returncode == 1
    assert "tiny for null: missing, 'null 2/2' left no record of it" in early.stdout
    assert "nothing was published" in (place / "summary.md").read_text()
    assert tags(push, "tiny") == tags(push, "second") == []

    assert pipeline.build(entries[-1]).returncode == 0
    with ThreadPoolExecutor(3) as pool:
        at_once = list(pool.map(pipeline.seal, ("seal", "rerun", "by mistake")))
    assert [done.returncode for done, _ in at_once] == [0, 0, 0], at_once
    place = at_once[0][1]
    alone = on_one_machine(runner, "recipes")
    for name, version in (("tiny", "1.2.3"), ("second", "0.1.0")):
        assert version in tags(push, name)
        checked = runner.shell(f"sprue bundle verify {name} --key {key.file} --json", place)
        assert [b["id"] for b in json.loads(checked.stdout)] == [alone[name]], checked.stderr
        _, manifest = raw(f"{push}/{name}:{version}")
        assert manifest["annotations"]["sprue.bundle.id"] == alone[name]
    pulled = runner.shell(f"sprue pull {push}/tiny:1.2.3 --store there --key {key.file}", tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    copied_by_skopeo(f"{push}/tiny:1.2.3", tmp_path / "copy")

    again, _ = pipeline.seal("again")
    assert again.returncode == 0
    assert again.stdout.count("was published already") == 2


def raw(reference: str) -> tuple[str, Any]:
    done = skopeo("inspect", "--tls-verify=false", "--raw", reference.replace("oci://", "docker://"))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(done.stdout)


def copied_by_skopeo(reference: str, folder: Path) -> None:
    """A copy of everything, whose index is the published one byte for byte."""
    source = reference.replace("oci://", "docker://")
    done = skopeo("copy", "--src-tls-verify=false", "--all", source, f"dir:{folder}")
    assert done.returncode == 0, done.stderr
    assert (folder / "manifest.json").read_text() == raw(reference)[0]


def test_what_gitlab_s_jobs_seal_is_what_one_machine_would_have_built(runner: Runner, push: str) -> None:
    pipeline = GitLab(runner, Setting(("recipes",), push))
    child = pipeline.matrix()
    names = [name for name in child if name.startswith(("null", "edge"))]
    assert names == ["edge 1/1", "null 1/2", "null 2/2"]
    assert child["edge 1/1"]["tags"] == ["linux", "arm64"]
    for name in names:
        done = pipeline.build(child, name)
        assert done.returncode == 0, done.stdout + done.stderr
    sealed, place = pipeline.seal(child)
    assert sealed.returncode == 0, sealed.stdout + sealed.stderr
    alone = on_one_machine(runner, "recipes")
    for name in ("tiny", "second"):
        checked = runner.shell(f"sprue bundle verify {name} --json", place)
        assert [b["id"] for b in json.loads(checked.stdout)] == [alone[name]]


def test_the_sample_model_is_sealed_as_if_built_on_one_machine(runner: Runner, git: Git, push: str) -> None:
    for folder in ("models", "recipes"):
        shutil.rmtree(runner.repository / folder)
    shutil.copytree(ROOT / "models" / "digits", runner.repository / "models" / "digits")
    (runner.repository / "recipes").mkdir()
    recipe = (ROOT / "recipes" / "digits.toml").read_text()
    # What is fastest, or no faster than float, is for each machine to say; sizes are the same on all.
    for text, instead in (
        ('"latency"', '"size"'),
        ('["onnxruntime", "openvino"]', '"onnxruntime"'),
        ('"int8-dynamic", ', ""),
    ):
        assert text in recipe
        recipe = recipe.replace(text, instead)
    (runner.repository / "recipes" / "digits.toml").write_text(recipe)
    git("add", "--all")
    git("commit", "-q", "-m", "digits")
    pipeline = GitHub(runner, Setting(("recipes/",), push))
    entries = pipeline.matrix()
    assert [e["target"] for e in entries] == ["cortex-m4", "gpu", "mobile", "server-cpu"]
    for entry in entries:
        done = pipeline.build(entry)
        assert done.returncode == 0, done.stdout + done.stderr
    sealed, place = pipeline.seal()
    assert sealed.returncode == 0, sealed.stdout + sealed.stderr
    checked = runner.shell("sprue bundle verify digits --json", place)
    alone = on_one_machine(runner, "recipes")
    assert [b["id"] for b in json.loads(checked.stdout)] == [alone["digits"]]
    assert tags(push, "digits") == ["1.0.0"]
