"""Peer: truncated cache files are shipped, exit code 0; entries are called by 8 hexadecimal characters."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprue.engine.cache import FORMAT, Cache
from sprue.engine.key import key
from tests.thinning import thinned

from .project import CALIBRATION, GRAIN, Project, Run, artifact, ran, rescale


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


def nothing(_: bytes) -> bytes:
    return b""


def files_of_the_cache(project: Project) -> list[str]:
    """All but the hints that say how long an action took."""
    place = project.cache / FORMAT
    found = [p.relative_to(place) for p in sorted(place.rglob("*")) if p.is_file()]
    return [p.as_posix() for p in found if p.parts[0] in ("actions", "blobs", "settled")]


def damage(project: Project, files: list[str], how: Callable[[bytes], bytes]) -> None:
    for name in files:
        path = project.cache / FORMAT / name
        data = how(path.read_bytes())
        path.chmod(0o644)
        path.write_bytes(data)


def assert_whole(project: Project, said: dict[str, Any], expected: bytes) -> None:
    """The bundle holds the right bytes, and the cache says of nothing that it is damaged."""
    folder = Path(said["bundle"]["folder"])
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        sha, _, name = line.partition("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha
    assert artifact(said) == expected
    again = project.build()
    assert ran(again) == set()
    assert "made again" not in again["stderr"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [half, flipped, nothing])
def test_a_damaged_cache_is_said_and_made_again(built: Project, how: Callable[[bytes], bytes]) -> None:
    expected = artifact(built.build())
    shutil.rmtree(built.folder / "bundles")
    damage(built, files_of_the_cache(built), how)
    said = built.build()
    assert {"source", "QuantizeStatic", "compile"} <= ran(said)
    assert "is damaged" in said["stderr"]
    assert "made again" in said["stderr"]
    assert_whole(built, said, expected)


@pytest.mark.slow
@pytest.mark.parametrize("how", [half, flipped])
@pytest.mark.parametrize("kind", ["actions", "blobs"])
def test_any_one_damaged_file_is_found(built: Project, kind: str, how: Callable[[bytes], bytes]) -> None:
    """With and without the bundle: what needs the file must notice, what does not must be right anyway."""
    first = built.build()
    expected = artifact(first)
    for name in thinned([f for f in files_of_the_cache(built) if f.startswith(kind)], 3):
        damage(built, [name], how)
        kept = built.build()
        assert artifact(kept) == expected
        assert kept["reference"] == first["reference"]
        assert kept["bundle"] == first["bundle"], name
        shutil.rmtree(built.folder / "bundles")
        said = built.build()
        assert_whole(built, said, expected)
        first = said


@pytest.mark.slow
@pytest.mark.parametrize("flip", [True, False], ids=["flipped", "cut"])
def test_a_damaged_answer_of_an_earlier_build_is_not_given(built: Project, flip: bool) -> None:
    """Anywhere in it: a bit of the answer itself would else be shown as it is."""
    expected = built.build()
    answers = [f for f in files_of_the_cache(built) if f.startswith("settled")]
    time.sleep(GRAIN)
    for part in (1, 8, *range(16, 24)):  # of 24; the answer is in the last third

        def spoil(data: bytes, part: int = part) -> bytes:
            at = len(data) * part // 24
            return data[:at] + (bytes([data[at] ^ 1]) + data[at + 1 :] if flip else b"")

        damage(built, answers, spoil)
        said = built.build()
        assert {**said, "seconds": 0, "stderr": ""} == {**expected, "seconds": 0, "stderr": ""}


@pytest.mark.slow
def test_an_unknown_format_version_is_said_left_alone_and_rebuilt(built: Project) -> None:
    expected = artifact(built.build())
    shutil.rmtree(built.folder / "bundles")
    other = (built.cache / FORMAT).rename(built.cache / "sprue-cache-99")
    before = sorted(str(p) for p in other.rglob("*"))
    said = built.build()
    assert "a cache of another version of sprue (sprue-cache-99)" in said["stderr"]
    assert {"source", "QuantizeStatic", "compile"} <= ran(said)
    assert artifact(said) == expected
    assert sorted(str(p) for p in other.rglob("*")) == before
    again = built.build()
    assert ran(again) == set()
    assert "another version" not in again["stderr"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=4), st.data())
def test_keys_are_whole_digests_of_all_parts(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    named = dict(pairs)
    other = dict(data.draw(st.permutations(list(named.items()))))
    assert key(named) == key(other)
    assert re.fullmatch("[0-9a-f]{64}", key(named))
    changed = {**named, data.draw(st.text(max_size=4)): data.draw(st.text(max_size=4))}
    assert (key(changed) == key(named)) is (changed == named)


def test_keys_that_begin_alike_have_entries_of_their_own(tmp_path: Path) -> None:
    """Two keys that share all but their last character, as two that are cut to 8 would share all."""
    cache = Cache(tmp_path / "cache")
    ours, theirs = "0" * 63 + "1", "0" * 63 + "2"
    for name in (ours, theirs):
        made = tmp_path / name / "out"
        made.mkdir(parents=True)
        (made / "file").write_text(name)
        cache.add(name, "an action", {"part": name}, made, 0.0)
    for name in (ours, theirs):
        entry = cache.find(name)
        assert entry is not None
        assert cache.read(entry.files["file"]) == name.encode()


@pytest.mark.slow
def test_two_models_of_one_name_share_a_cache_and_nothing_in_it(
    built: Project, sprue: Run, tmp_path: Path
) -> None:
    """Even where an entry lies in the place of another: it says which key it is of."""
    expected = artifact(built.build())
    twin = Project(shutil.copytree(built.folder, tmp_path / "twin"), sprue, built.cache)
    shutil.rmtree(twin.folder / "bundles")
    rescale(twin.folder / CALIBRATION, 2)
    other = artifact(twin.build())
    assert other != expected
    assert artifact(built.build()) == expected
    entries = [built.cache / FORMAT / f for f in files_of_the_cache(built) if f.startswith("actions")]
    compiled = [p for p in entries if json.loads(p.read_bytes())["entry"]["name"].endswith("/compile")]
    assert len(compiled) == 2
    one, two = (p.read_bytes() for p in compiled)
    for path, data in zip(compiled, (two, one), strict=True):
        path.chmod(0o644)
        path.write_bytes(data)
    for project in (built, twin):
        shutil.rmtree(project.folder / "bundles")
    assert artifact(twin.build()) == other
    assert artifact(built.build()) == expected
