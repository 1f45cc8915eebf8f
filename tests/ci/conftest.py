"""A project in a git checkout of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Git = Callable[..., str]

AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture
def git(project: Path) -> Git:
    """`git(*arguments)` in the project, which is a checkout with one commit."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", project, *AUTHOR, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    run("init", "-q", "-b", "main")
    run("add", "--all")
    run("commit", "-q", "-m", "first")
    return run
