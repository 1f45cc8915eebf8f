"""`sprue build --remote-cache`, as CI and as everyone else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Sprue = Callable[..., subprocess.CompletedProcess[str]]


def states(done: subprocess.CompletedProcess[str]) -> set[str]:
    return set(json.loads(done.stdout)["actions"].values())


@pytest.mark.slow
def test_what_ci_has_built_nobody_builds_again(
    project: Path, sprue: Sprue, tmp_path: Path, key_files: Callable[[str], tuple[Path, Path]]
) -> None:
    private, public = key_files("ci")
    remote = {"SPRUE_REMOTE_CACHE": str(tmp_path / "remote")}
    ci = {**remote, "SPRUE_REMOTE_CACHE_WRITE": "1", "SPRUE_REMOTE_CACHE_KEY": str(private)}
    everyone = {**remote, "SPRUE_REMOTE_CACHE_KEY": str(public)}
    build = ("build", "recipes/tiny.toml", "--json")
    first = sprue(project, *build, SPRUE_CACHE=str(tmp_path / "ci"), **ci)
    assert states(first) == {"done"}, first.stderr
    second = sprue(
        project, *build, SPRUE_CACHE=str(tmp_path / "mine"), SPRUE_STORE=str(tmp_path / "b"), **everyone
    )
    assert states(second) == {"cached"}, second.stderr
    ids = [json.loads(d.stdout)["bundle"]["id"] for d in (first, second)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("arguments", "key", "word"),
    [
        (["--remote-cache", "ftp://x/y"], "", "nothing can be published to 'ftp:'"),
        (["--remote-cache", "x"], "absent.pem", "cannot read the key"),
        (["--remote-cache", "x"], "recipes/tiny.toml", "not a public key in PEM"),
    ],
)
def test_a_wrong_place_or_key_is_refused_before_anything_runs(
    project: Path, sprue: Sprue, tmp_path: Path, arguments: list[str], key: str, word: str
) -> None:
    pytest.importorskip("cryptography", reason="sprue[signing] is not installed")
    done = sprue(
        project,
        "build",
        "recipes/tiny.toml",
        *arguments,
        SPRUE_CACHE=str(tmp_path / "c"),
        SPRUE_REMOTE_CACHE_KEY=key,
    )
    assert done.returncode == 2
    assert word in done.stderr


def test_who_may_write_needs_the_private_key(
    project: Path, sprue: Sprue, tmp_path: Path, key_files: Callable[[str], tuple[Path, Path]]
) -> None:
    _, public = key_files("ci")
    done = sprue(
        project,
        *("build", "recipes/tiny.toml", "--remote-cache", tmp_path / "remote", "--remote-cache-write"),
        SPRUE_CACHE=str(tmp_path / "c"),
        SPRUE_REMOTE_CACHE_KEY=str(public),
    )
    assert done.returncode == 2
    assert "private key" in done.stderr
