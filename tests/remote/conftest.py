"""Registries that serve as caches, and keys."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture(params=["folder", "s3", "oci", "http"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty registry of each kind."""
    if request.param == "folder":
        return str(tmp_path / "remote")
    return f"{request.getfixturevalue(f'{request.param}_url')}/{uuid4().hex}"


@pytest.fixture
def key_files(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """A new ed25519 key and its public half, made by OpenSSL."""
    pytest.importorskip("cryptography", reason="sprue[signing] is not installed")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def make(name: str) -> tuple[Path, Path]:
        private, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
        return private, public

    return make


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("SPRUE_REMOTE")]:
        monkeypatch.delenv(name)
