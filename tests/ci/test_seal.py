"""What must not be sealed: missing, failed, stale, contradictory or damaged parts. Nothing is published then.

The parts are built once, by the null backend, and pushed to a folder; each test spoils a copy of all of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import AUTHOR

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]

RECIPE = 'model = "tiny"\nversion = "1.2.3"\n[target.null]\n[target.edge]\n'
EDGE = """
description = "another place"
backends = ["null", "raises"]
[platform]
os = "linux"
arch = "any"
"""
NULL, EDGE_RECORD = "shards/null-1-of-1.json", "shards/edge-1-of-1.json"


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", folder, *AUTHOR, *arguments], check=True, capture_output=True)


def shard(sprue: Run, folder: Path, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    job = ("--matrix", "matrix.json", "--target", target, "--only-shard", "1/1")
    cache = {"SPRUE_CACHE": str(folder / "cache" / target)}
    return sprue(folder, "build", *job, "--push", "registry", "--json", **cache, **environment)


@pytest.fixture(scope="module")
def built(template: Path, sprue: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with matrix.json, the records of its two jobs, and the folder that they pushed to."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("seal") / "project")
    (folder / "targets").mkdir()
    (folder / "targets" / "edge.toml").write_text(EDGE)
    (folder / "recipes" / "tiny.toml").write_text(RECIPE)
    (folder / ".gitignore").write_text("cache/\nregistry/\nshards/\nbundles/\nmatrix.json\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "registry").mkdir()
    assert sprue(folder, "matrix", "recipes", "--out", "matrix.json").returncode == 0
    for target in ("null", "edge"):
        done = shard(sprue, folder, target)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "registry" / "tiny" / "refs").exists(), "a part has no ref"
    return folder


@pytest.fixture
def parts(built: Path, tmp_path: Path) -> Iterator[Path]:
    yield shutil.copytree(built, tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts")


def seal(sprue: Run, folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = sprue(folder, "seal", "--push", "registry", "--json", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, said


def refused(sprue: Run, folder: Path, *arguments: str) -> str:
    """What is said of parts that must not be sealed: nothing is published, no bundle is kept."""
    code, said = seal(sprue, folder, *arguments)
    assert (code, said["ok"], said["sealed"]) == (1, False, [])
    assert not (folder / "registry" / "tiny" / "refs").exists()
    assert list((folder / "bundles" / "tiny").glob("1.2.3.json")) == []
    problems: list[str] = said["problems"]
    return "\n".join(problems)


def change(path: Path, **fields: Any) -> None:
    """Let a record's only part say something else."""
    record = json.loads(path.read_bytes())
    record["parts"][0] |= fields
    path.chmod(0o644)
    path.write_text(json.dumps(record))


def test_a_missing_shard_is_named(parts: Path, sprue: Run) -> None:
    (parts / EDGE_RECORD).unlink()
    assert refused(sprue, parts) == "tiny for edge: missing, 'edge 1/1' left no record of it"


def test_a_failed_shard_is_named_with_the_reason(parts: Path, sprue: Run) -> None:
    (parts / EDGE_RECORD).unlink()
    (parts / "recipes" / "tiny.toml").write_text(f'{RECIPE}backend = "raises"\n')
    done = shard(sprue, parts, "edge")
    assert done.returncode == 1
    said = refused(sprue, parts)
    assert "tiny for edge: 'edge 1/1' failed: edge: raises-float32: compile:" in said
    assert "ZeroDivisionError: of its own making" in said


def test_a_shard_of_another_revision_is_stale(parts: Path, sprue: Run) -> None:
    first = git_head(parts)
    (parts / "README").write_text("new")
    git(parts, "add", "--all")
    git(parts, "commit", "-q", "-m", "second")
    assert shard(sprue, parts, "edge").returncode == 0
    second = git_head(parts)
    assert refused(sprue, parts) == (
        f"tiny for edge: 'edge 1/1' is stale: built from revision {second}, this is {first}"
    )


def git_head(folder: Path) -> str:
    done = subprocess.run(
        ["git", "-C", folder, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_shards_that_disagree_are_named(parts: Path, sprue: Run) -> None:
    """Both are of this revision and recipe, and say so truly; one was built for another date."""
    assert shard(sprue, parts, "edge", SOURCE_DATE_EPOCH="1").returncode == 0
    said = refused(sprue, parts)
    assert "the parts from 'null 1/1' and 'edge 1/1' do not agree: createdAt" in said


def test_two_parts_for_one_target_are_named(parts: Path, sprue: Run) -> None:
    shutil.move(parts / EDGE_RECORD, parts / "shards" / "first.json")
    assert shard(sprue, parts, "edge", SOURCE_DATE_EPOCH="1").returncode == 0
    said = refused(sprue, parts)
    assert "tiny for edge: 'edge 1/1' and 'edge 1/1' disagree, each has another bundle" in said


@pytest.mark.parametrize(
    "fields",
    [{"revision": "0" * 40}, {"bundle": "0" * 64}, {"toolchain": {}}, {"targets": ["edge", "null"]}],
    ids=lambda f: next(iter(f)),
)
def test_a_record_that_lies_is_found_out(parts: Path, sprue: Run, fields: dict[str, Any]) -> None:
    change(parts / EDGE_RECORD, **fields)
    said = refused(sprue, parts)
    assert "'edge 1/1'" in said


def test_a_part_that_is_not_in_the_registry_is_named(parts: Path, sprue: Run) -> None:
    change(parts / EDGE_RECORD, index="1" * 64)
    assert refused(sprue, parts).startswith("tiny: ")


def test_a_damaged_blob_in_the_registry_is_refused(parts: Path, sprue: Run) -> None:
    record = json.loads((parts / EDGE_RECORD).read_bytes())["parts"][0]
    for sha in (record["index"], record["outputs"]["edge"]["sha256"]):
        spoilt = shutil.copytree(parts, parts.with_name(sha[:8]))
        blob = spoilt / "registry" / "tiny" / "blobs" / "sha256" / sha
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.chmod(0o644)
        blob.write_bytes(data)
        assert "the registry gave other content" in refused(sprue, spoilt)


def test_a_record_that_is_none_is_a_clear_error(parts: Path, sprue: Run) -> None:
    (parts / "shards" / "other.json").write_text('{"schema":"sprue-shard/2"}')
    done = sprue(parts, "seal", "--push", "registry")
    assert done.returncode == 1
    assert "other.json: no record of a shard" in done.stderr
    assert not (parts / "registry" / "tiny" / "refs").exists()


def test_parts_of_elsewhere_are_not_taken(parts: Path, sprue: Run) -> None:
    code, said = seal(sprue, parts, "--push", "elsewhere")
    assert code == 1
    assert "was pushed to registry, not to elsewhere" in said["problems"][0]


def test_another_bundle_under_a_published_version_is_refused(parts: Path, sprue: Run) -> None:
    code, first = seal(sprue, parts)
    assert code == 0
    assert seal(sprue, parts)[1]["sealed"] == [{**first["sealed"][0], "new": False}]
    for target in ("null", "edge"):
        assert shard(sprue, parts, target, SOURCE_DATE_EPOCH="1").returncode == 0
    code, said = seal(sprue, parts)
    assert (code, said["sealed"]) == (1, [])
    assert "'1.2.3' is published already" in said["problems"][0]
    code, said = seal(sprue, parts, "--skip-published")
    assert (code, said["sealed"], len(said["left"])) == (0, [], 1)
    ref = json.loads((parts / "registry" / "tiny" / "refs" / "1.2.3").read_bytes())
    assert ref["digest"] == f"sha256:{first['sealed'][0]['index']}"


def test_what_is_whole_is_sealed_with_keep_going_and_the_exit_code_says_what_was_not(
    parts: Path, sprue: Run
) -> None:
    matrix = json.loads((parts / "matrix.json").read_bytes())
    matrix["recipes"].append({**matrix["recipes"][0], "name": "other", "path": "recipes/other.toml"})
    (parts / "whole.json").write_text(json.dumps(matrix))
    assert "other for null: missing" in refused(sprue, parts, "--matrix", "whole.json")
    code, said = seal(sprue, parts, "--matrix", "whole.json", "--keep-going")
    assert code == 1
    assert [s["name"] for s in said["sealed"]] == ["tiny"]
    assert len(said["problems"]) == 2
