"""Building a bundle again from its own contents: the same comes out, or what differs is named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sprue.bundle.freeze import freeze

Done = subprocess.CompletedProcess[str]
Sprue = Callable[..., Done]

SOURCE = """
import pathlib, onnx
def export():
    pathlib.Path({mark!r}).open("a").write("called ")
    return onnx.load(pathlib.Path(__file__).with_name("tiny.onnx"))
"""


@pytest.fixture(scope="module")
def place(template: Path, tmp_path_factory: pytest.TempPathFactory, sprue: Sprue) -> Path:
    """A folder with `bundle`, and nothing of the project that it was built from.

    `mark` grows with each call of its Python source. Its labels have a name of their own.
    """
    folder = tmp_path_factory.mktemp("rebuild")
    project = shutil.copytree(template, folder / "project")
    tiny = project / "models" / "tiny"
    (tiny / "export.py").write_text(SOURCE.format(mark=str(folder / "mark")))
    with np.load(tiny / "evaluation.npz") as arrays:
        np.savez(tiny / "evaluation.npz", allow_pickle=False, x=arrays["x"], answers=arrays["label"])
    text = (tiny / "model.toml").read_text().replace("tiny.onnx", "export.py:export")
    (tiny / "model.toml").write_text(text + 'label = "answers"\n')
    recipe = 'model = "tiny"\n[target.null]\nprecision = ["float32", "float16"]\naccept.max_drop = 0.5\n'
    (project / "recipes" / "tiny.toml").write_text(recipe)
    done = sprue(project, "build", "recipes/tiny.toml")
    assert done.returncode == 0, done.stderr
    next((project / "bundles" / "tiny").glob("*-*/")).rename(folder / "bundle")
    shutil.rmtree(project)
    for path in (folder / "bundle").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture
def bundle(place: Path, tmp_path: Path) -> Path:
    return shutil.copytree(place / "bundle", tmp_path / "bundle")


def refreeze(bundle: Path, **changed: Any) -> None:
    """As if it had been built so."""
    fields = json.loads((bundle / "manifest.json").read_text()) | changed
    freeze(bundle, {k: v for k, v in fields.items() if k not in ("schema", "files")})


def rebuild(sprue: Sprue, bundle: Path, *options: str) -> Done:
    return sprue(bundle.parent, "bundle", "rebuild", str(bundle), "--check", *options)


@pytest.mark.slow
def test_a_bundle_is_all_that_is_needed_and_its_python_is_not_run(sprue: Sprue, place: Path) -> None:
    called = (place / "mark").read_text()
    done = rebuild(sprue, place / "bundle", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["equal"], said["files"], said["tools"], said["causes"]) == (True, [], {}, [])
    manifest = json.loads((place / "bundle" / "manifest.json").read_text())
    paths = {f["path"] for f in manifest["files"]}
    kept = manifest["targets"][0]["variant"]
    lost = {p for p in paths if "verdicts" in p and kept not in p}
    assert len(lost) == 1
    assert said["same"] == len(paths - lost - {"evidence/variants.json"})
    assert (place / "mark").read_text() == called
    assert sorted(p.name for p in place.iterdir()) == ["bundle", "mark"]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["weights", "graph", "answers"])
def test_what_differs_is_named_with_the_tool_that_differs(sprue: Sprue, bundle: Path, part: str) -> None:
    target = bundle / "targets" / "null"
    path = target / "artifact" / "model.onnx"
    if part == "answers":
        path = target / "golden" / "outputs.npz"
        np.savez(path, allow_pickle=False, y=np.zeros((8, 3), np.float32))
    else:
        model = onnx.load(path)
        if part == "weights":
            first = numpy_helper.to_array(model.graph.initializer[0])
            model.graph.initializer[0].CopyFrom(numpy_helper.from_array(first + 1, "first"))
        else:
            model.graph.node[0].name = "renamed"
        path.write_bytes(model.SerializeToString(deterministic=True))
    toolchain = json.loads((bundle / "manifest.json").read_text())["toolchain"]
    refreeze(bundle, toolchain=toolchain | {"onnx": "1.0.0"})
    done = rebuild(sprue, bundle, "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert {"path": str(path.relative_to(bundle)), "kind": part, "what": "other bytes"} in said["files"]
    assert said["tools"] == {"onnx": {"before": "1.0.0", "now": onnx.__version__}}
    assert said["causes"] == [f"onnx was 1.0.0, now {onnx.__version__}"]


@pytest.mark.slow
def test_another_tool_alone_is_a_difference_and_another_machine_a_cause(sprue: Sprue, bundle: Path) -> None:
    toolchain = json.loads((bundle / "manifest.json").read_text())["toolchain"]
    refreeze(bundle, toolchain=toolchain | {"sprue": "0.0.1"})
    done = rebuild(sprue, bundle)
    assert done.returncode == 1
    assert "0 differ\ntool sprue: 0.0.1 -> " in done.stdout
    measured = bundle / "evidence" / "measurements.json"
    measured.write_text(json.dumps(json.loads(measured.read_text()) | {"machine": "an abacus"}))
    (bundle / "evidence" / "parity.json").write_text("{}")
    refreeze(bundle, toolchain=toolchain)
    done = rebuild(sprue, bundle)
    assert done.returncode == 1
    assert "evidence    evidence/parity.json  other bytes\n" in done.stdout
    assert "cause: it was built on an abacus, now on " in done.stdout


@pytest.mark.slow
def test_without_check_the_new_bundle_is_kept_beside_the_old_one(
    sprue: Sprue, bundle: Path, tmp_path: Path
) -> None:
    assert sprue(tmp_path, "bundle", "import", str(bundle)).returncode == 0
    done = sprue(tmp_path, "bundle", "rebuild", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    listed = json.loads(sprue(tmp_path, "bundle", "list", "--json").stdout)
    assert [(b["id"] == said["id"], b["latest"]) for b in listed] == [(False, True), (True, False)]
    assert sprue(tmp_path, "bundle", "verify", said["folder"]).returncode == 0


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("targets/null/contract.json", b"{}", "it does not say what was built: KeyError('target')"),
        ("targets/null/contract.json", b"{", "cannot be read: "),
        ("targets/null/contract.json", None, "cannot be built again"),
        ("evidence/recipe.json", b"{}", "it names no model, metric or label"),
        ("evidence/recipe.json", None, "cannot be built again"),
    ],
)
def test_a_bundle_that_lacks_something_is_refused_with_the_reason(
    bundle: Path, tmp_path: Path, path: str, data: bytes | None, said: str
) -> None:
    from sprue.bundle.check import check_bundle
    from sprue.errors import SprueError
    from sprue.rebuild import recipe_of

    (bundle / path).unlink()
    if data is not None:
        (bundle / path).write_bytes(data)
    refreeze(bundle)
    (tmp_path / "work").mkdir()
    with pytest.raises(SprueError) as raised:
        recipe_of(bundle, check_bundle(bundle).manifest, tmp_path / "work")
    assert said in str(raised.value)
    assert path in str(raised.value)


@pytest.mark.parametrize(
    "changed", [{"backend": "other"}, {"precision": "int3"}, {"settings": {"threads": "x"}}]
)
def test_a_contract_that_is_not_the_manifests_is_refused(
    bundle: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    from sprue.bundle.check import check_bundle
    from sprue.errors import CheckError
    from sprue.rebuild import recipe_of

    path = bundle / "targets" / "null" / "contract.json"
    value = json.loads(path.read_text())
    value["variant"] |= changed
    path.write_text(json.dumps(value))
    refreeze(bundle)
    (tmp_path / "work").mkdir()
    with pytest.raises(CheckError, match=r"contract\.json: it (is about other-|does not say what was built)"):
        recipe_of(bundle, check_bundle(bundle).manifest, tmp_path / "work")
