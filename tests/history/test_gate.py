"""`sprue build --against`: what got worse, by how much, and whether the recipe allows it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

Run = Callable[..., CompletedProcess[str]]

LOOSE = "[accept]\nmax_drop = 1\natol = 1000\n"
WORSE = f'model = "tiny"\nversion = "1.3.0"\n{LOOSE}[target.null]\nbackend = "worse"\n'


@pytest.fixture(scope="module")
def tagged(template: Path, sprue: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with 1.2.3 of `tiny` in its store, tagged `prod`."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("tagged") / "project")
    assert sprue(folder, "build", "recipes/tiny.toml").returncode == 0
    assert sprue(folder, "bundle", "tag", "tiny", "prod").returncode == 0
    return folder


@pytest.fixture
def place(tagged: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(tagged, tmp_path / "place", copy_function=shutil.copyfile)


def write(place: Path, text: str) -> None:
    (place / "recipes" / "tiny.toml").write_text(text)


def gate(done: CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)["gate"]
    return found


def lines(done: CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {line["figure"]: line for line in gate(done)["lines"]}


@pytest.mark.slow
def test_the_same_artifact_holds(place: Path, sprue: Run) -> None:
    for against in ("tiny@prod", "tiny:prod", "@prod", "tiny@1.2.3"):
        done = sprue(place, "build", "recipes/tiny.toml", "--against", against, "--json")
        assert done.returncode == 0, done.stderr
        found = lines(done)
        assert found.keys() >= {"metric", "size", "latency", "cpu", "peak_memory", "energy"}
        assert {(line["worse"], line["ok"]) for line in found.values()} == {(0, True)}


@pytest.mark.slow
def test_what_got_worse_is_named_with_its_figures_and_nothing_is_frozen(place: Path, sprue: Run) -> None:
    write(place, WORSE)
    done = sprue(place, "build", "recipes/tiny.toml", "--against", "tiny@prod", "--json")
    assert done.returncode == 1
    found = lines(done)
    assert {k for k, line in found.items() if not line["ok"]} >= {"metric", "size", "latency"}
    assert found["metric"]["worse"] == pytest.approx(0.05)
    assert found["latency"]["after"] >= 0.005
    assert not json.loads(done.stdout)["ok"]
    assert [p.name[:5] for p in (place / "bundles" / "tiny").glob("*-*/")] == ["1.2.3"]

    said = sprue(place, "build", "recipes/tiny.toml", "--against", "tiny@prod")
    assert said.returncode == 1
    assert "worse than tiny@1.2.3#" in said.stdout
    assert "null: accuracy 1.0000 -> 0.9500, -0.0500, allowed is 0.005" in said.stdout
    report = sprue(place, "report", "recipes/tiny.toml", "--format", "markdown", "-o", "-")
    assert "| **worse-float32** | kept, verified | 0.9500 |" in report.stdout


@pytest.mark.slow
def test_what_the_recipe_allows_holds(place: Path, sprue: Run) -> None:
    write(place, WORSE + '[gate]\nmetric = 0.06\nsize = "5000 %"\nlatency = 1e9\ncost = 1e9\n')
    done = sprue(place, "build", "recipes/tiny.toml", "--against", "@prod", "--json")
    assert done.returncode == 0, done.stderr
    assert lines(done)["metric"]["allowed"] == 0.06
    assert lines(done)["size"]["allowed"] == 50
    assert json.loads(done.stdout)["bundle"] is not None
    write(
        place,
        WORSE + '[gate]\nmetric = 0.06\nlatency = 1e9\ncost = 1e9\n[target.null.gate]\nsize = "5000 %"\n',
    )
    assert sprue(place, "build", "recipes/tiny.toml", "--against", "@prod").returncode == 0


@pytest.mark.slow
def test_the_old_artifact_is_timed_again_beside_the_new_one(place: Path, sprue: Run) -> None:
    """Its own figures are from another machine, which was a thousand times as slow."""
    (bundle,) = (place / "bundles" / "tiny").glob("1.2.3-*")
    path = bundle / "evidence" / "measurements.json"
    path.write_text(path.read_text().replace('"machine":"', '"machine":"another '))
    resum(bundle)
    write(place, WORSE)
    done = sprue(place, "build", "recipes/tiny.toml", "--against", "@prod", "--json")
    assert done.returncode == 1, done.stderr
    latency = lines(done)["latency"]
    assert latency["note"] == ""
    assert latency["before"] < 0.005 <= latency["after"]


@pytest.mark.slow
def test_what_cannot_be_run_here_is_said_and_not_compared(place: Path, sprue: Run) -> None:
    """The old artifact's backend is none of ours, and its machine was another."""
    (bundle,) = (place / "bundles" / "tiny").glob("1.2.3-*")
    for name, old, new in (
        ("measurements.json", '"machine":"', '"machine":"another '),
        ("variants.json", '"backend":"null"', '"backend":"elsewhere"'),
    ):
        path = bundle / "evidence" / name
        path.write_text(path.read_text().replace(old, new))
    ident = resum(bundle)
    tag = place / "bundles" / "tiny" / "1.2.3.json"
    tag.write_text(f'{{"id":"{ident}"}}')
    done = sprue(place, "build", "recipes/tiny.toml", "--against", "tiny@1.2.3", "--json")
    assert done.returncode == 0, done.stderr
    latency = lines(done)["latency"]
    assert (latency["worse"], latency["ok"]) == (None, True)
    assert "cannot be run here" in latency["note"]


@pytest.mark.slow
def test_other_evaluation_data_are_answered_by_the_old_artifact_too(place: Path, sprue: Run) -> None:
    """Half of the labels are others now: both artifacts are half wrong, and none is worse."""
    path = place / "models" / "tiny" / "evaluation.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["label"][::2] = (arrays["label"][::2] + 1) % 3
    np.savez(path, allow_pickle=False, **arrays)
    done = sprue(place, "build", "recipes/tiny.toml", "--against", "@prod", "--json")
    assert done.returncode == 0, done.stderr
    metric = lines(done)["metric"]
    assert (metric["before"], metric["after"], metric["note"]) == (0.5, 0.5, "")


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("tiny@prod", "there is no tag 'tiny:prod'"),
        ("tiny@1.0.0", "there is no bundle 'tiny@1.0.0'"),
        ("@", "is not a bundle's name"),
    ],
)
def test_a_baseline_that_is_not_there_stops_before_anything_is_built(
    sprue_here: Run, project: Path, monkeypatch: pytest.MonkeyPatch, against: str, said: str
) -> None:
    monkeypatch.setenv("SPRUE_CACHE", str(project / "cache"))
    write(project, 'model = "tiny"\n[target.server-cpu]\n')
    done = sprue_here("build", "recipes/tiny.toml", "--against", against)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list((project / "cache").rglob("actions/*/*"))


@pytest.mark.slow
def test_a_bundle_of_another_recipe_is_refused(place: Path, sprue: Run) -> None:
    (place / "recipes" / "tiny.toml").rename(place / "recipes" / "other.toml")
    done = sprue(place, "build", "recipes/other.toml", "--against", "tiny@prod")
    assert done.returncode == 2
    assert "is a bundle of 'tiny'" in done.stderr


def resum(bundle: Path) -> str:
    """Freeze a spoiled bundle anew; its id."""
    from sprue.bundle.freeze import freeze
    from sprue.bundle.manifest import MANIFEST, SUMS, read_manifest

    manifest = read_manifest((bundle / MANIFEST).read_bytes(), "")
    fields = manifest.model_dump(mode="json", by_alias=True)
    fields = {k: v for k, v in fields.items() if k not in ("files", "schema")}
    (bundle / MANIFEST).unlink()
    (bundle / SUMS).unlink()
    return freeze(bundle, fields).id()
