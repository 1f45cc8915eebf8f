"""`sprue cache`: what it says, and with which exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sprue.canonical import canonical, digest
from sprue.engine.cache import Cache

Sprue = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with one entry of one file."""
    opened = Cache(tmp_path / "cache")
    with opened.workspace() as work:
        (work / "out").mkdir()
        (work / "out" / "file").write_bytes(b"made once")
        named = {"function": "steps:make"}
        opened.add(digest(canonical(named)), "make", named, work / "out", 1.0)
    return opened.root


@pytest.fixture
def ask(sprue: Sprue, folder: Path, tmp_path: Path) -> Callable[..., tuple[int, Any]]:
    """The exit code and the JSON of `sprue cache ...`."""

    def ask(*arguments: str) -> tuple[int, Any]:
        done = sprue(tmp_path, "cache", *arguments, "--cache", folder, "--json")
        return done.returncode, json.loads(done.stdout)

    return ask


def test_stats_count_what_is_there(ask: Callable[..., tuple[int, Any]]) -> None:
    code, said = ask("stats")
    assert code == 0
    assert (said["entries"], said["blobs"], said["unreadable"], said["live_builds"]) == (1, 1, 0, 0)
    assert list(said["kinds"]) == ["steps:make"]


def test_verify_fails_for_damage_until_it_is_repaired(
    ask: Callable[..., tuple[int, Any]], folder: Path
) -> None:
    assert ask("verify")[0] == 0
    blob = next(folder.glob("*/blobs/*/*"))
    blob.chmod(0o644)
    blob.write_bytes(b"made twice")
    code, said = ask("verify")
    assert (code, said["ok"], said["damaged"]) == (1, False, [str(blob)])
    assert ask("verify", "--repair")[0] == 0
    assert ask("verify")[0] == 0
    assert ask("stats")[1]["entries"] == 0


def test_gc_says_what_it_would_remove_and_leaves_what_was_just_used(
    ask: Callable[..., tuple[int, Any]], folder: Path
) -> None:
    code, said = ask("gc", "--keep", "20GB", "--dry-run")
    assert (code, said["entries"], said["freed"], said["dry_run"]) == (0, 0, 0, True)
    code, said = ask("gc", "--keep", "0", "--older-than", "30d")
    assert (code, said["entries"]) == (0, 0)
    assert len(list(folder.glob("*/actions/*/*"))) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--keep", "many"], "a size is a number and a unit"),
        (["--keep", "1 GB", "--older-than", "long"], "a duration is a number and a unit"),
        ([], "--keep"),
    ],
)
def test_gc_refuses_what_is_no_size_or_time(
    sprue: Sprue, tmp_path: Path, arguments: list[str], word: str
) -> None:
    done = sprue(tmp_path, "cache", "gc", *arguments)
    assert done.returncode == 2
    assert word in done.stderr


def test_people_are_told_in_words(sprue: Sprue, folder: Path, tmp_path: Path) -> None:
    words = {"stats": "1 entries, 1 blobs", "verify": "all good"}
    for verb, word in words.items():
        assert word in sprue(tmp_path, "cache", verb, "--cache", folder).stdout
    assert "0 B freed" in sprue(tmp_path, "cache", "gc", "--keep", "1GB", "--cache", folder).stdout
