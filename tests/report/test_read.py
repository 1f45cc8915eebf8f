"""Reading what a build left behind, and what a stranger's bundle claims."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from sprue.bundle.freeze import freeze
from sprue.bundle.manifest import MANIFEST, SUMS, read_manifest
from sprue.engine.cache import Cache
from sprue.errors import CheckError
from sprue.report.data import Report
from sprue.report.read import from_bundle, from_last_build

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="session")
def built(template: Path, sprue: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was built: its cache in `cache`, its bundle in `bundles`."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("built") / "project")
    done = sprue(folder, "build", "recipes/tiny.toml", SPRUE_CACHE=str(folder / "cache"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A copy of its bundle to spoil."""
    (folder,) = (built / "bundles" / "tiny").glob("1.2.3-*")
    copy = shutil.copytree(folder, tmp_path / "bundle")
    for path in copy.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


def spoil(bundle: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """Change a file of the evidence, and freeze the bundle anew: it is whole, and lies."""
    path = bundle / "evidence" / name
    path.write_bytes(change(path.read_bytes()))
    manifest = read_manifest((bundle / MANIFEST).read_bytes(), "")
    fields = {
        k: v
        for k, v in manifest.model_dump(mode="json", by_alias=True).items()
        if k not in ("files", "schema")
    }
    (bundle / MANIFEST).unlink()
    (bundle / SUMS).unlink()
    freeze(bundle, fields)
    return bundle


def edit(**fields: Any) -> Callable[[bytes], bytes]:
    """Change fields of the first variant."""

    def change(data: bytes) -> bytes:
        variants = json.loads(data)
        variants[0].update(fields)
        return json.dumps(variants, sort_keys=True, separators=(",", ":")).encode()

    return change


def edit_times(**fields: Any) -> Callable[[bytes], bytes]:
    """Change what was timed of the first variant."""

    def change(data: bytes) -> bytes:
        found = json.loads(data)
        next(iter(found["variants"].values()))["timing"].update(fields)
        return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()

    return change


def test_a_build_and_its_bundle_say_the_same(built: Path) -> None:
    here = from_last_build(Cache(built / "cache").folder, built / "recipes" / "tiny.toml")
    (folder,) = (built / "bundles" / "tiny").glob("1.2.3-*")
    there = from_bundle(folder)
    assert here == replace(there, id="", revision="", created="")
    assert there.ok
    (target,) = there.targets
    assert target.kept is not None
    assert (target.kept.variant, target.kept.how.precision) == ("null-float32", "float32")
    assert there.reference is not None
    assert (there.reference.metric, there.reference.value, there.reference.samples) == ("accuracy", 1.0, 20)
    assert len(there.reference.labels) == 64


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("variants.json", edit(size=-1), r"not valid: targets\.0\.tried\.0\.size"),
        ("variants.json", edit(metric="0.9"), "not valid"),
        ("variants.json", edit(state="perfect"), "not valid"),
        ("variants.json", edit(why="x" * 20_000), "not valid"),
        ("variants.json", edit(notes=[1]), "not valid"),
        (
            "variants.json",
            lambda d: d.replace(b'"metric":1.0', b'"metric":1e999'),
            "not valid|not in the format",
        ),
        ("variants.json", lambda d: d.replace(b"null-float32", b"\\ud800"), "not valid"),
        ("variants.json", lambda _: b'{"a":1}', "not in the format"),
        ("variants.json", lambda _: b"[" * 100_000, "cannot be read"),
        ("reference.json", lambda _: b'{"metric":["a"]}', "not valid"),
        ("reference.json", lambda _: b'{"a":1,"a":2}', "cannot be read"),
        ("parity.json", lambda _: b'{"pairs":7}', "not valid"),
        ("measurements.json", edit_times(best=-1), "not valid"),
        ("measurements.json", lambda _: b'{"variants":[]}', "not in the format"),
        ("measurements.json", lambda _: b'{"variants":{"null/null-float32":7}}', "not in the format"),
    ],
)
def test_evidence_that_is_not_what_it_should_be_is_refused(
    bundle: Path, name: str, change: Callable[[bytes], bytes], said: str
) -> None:
    with pytest.raises(CheckError, match=said):
        from_bundle(spoil(bundle, name, change))


def test_a_damaged_bundle_is_not_reported_on(bundle: Path) -> None:
    path = bundle / "evidence" / "variants.json"
    path.write_bytes(path.read_bytes().replace(b"null-float32", b"best-float32"))
    with pytest.raises(CheckError, match=r"evidence/variants\.json is damaged"):
        from_bundle(bundle)


def test_what_does_not_print_is_replaced(bundle: Path) -> None:
    report = from_bundle(spoil(bundle, "variants.json", edit(why="a\u202eb\u0000c\u200bd\ne")))
    assert report.targets[0].tried[0].why == "a\ufffdb\ufffdc\ufffdd\ne"


def test_fields_of_a_later_version_are_left_out(bundle: Path) -> None:
    report: Report = from_bundle(spoil(bundle, "variants.json", edit(invented=1)))
    assert report.ok
