"""Real places on loopback: a folder, moto's S3 server, Debian's docker-registry."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from sprue.remote.place import Place, open_place

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: test, path: {passwords}}}}}
"""
PASSWORD = "$2b$05$bBzWMdzPeybXS5NAxSCTzuUuklnw0F4NeqHfFrUdt65escT7u7vSG"
"""bcrypt of "secret"."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on {port}")


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A bucket of moto's server, in its own process."""
    pytest.importorskip("moto", reason="moto[server] is not installed")
    boto3 = pytest.importorskip("boto3", reason="sprue[s3] is not installed")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            wait_for(port)
            boto3.client("s3").create_bucket(Bucket="cache")
            yield "s3://cache"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def oci_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry, which wants a password."""
    pytest.importorskip("httpx", reason="sprue[oci] is not installed")
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (Debian's package of that name)")
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    (folder / "passwords").write_text(f"ci:{PASSWORD}\n")
    (folder / "config.yml").write_text(
        CONFIG.format(folder=folder / "data", port=port, passwords=folder / "passwords")
    )
    login = json.dumps({"auths": {f"127.0.0.1:{port}": {"auth": "Y2k6c2VjcmV0"}}})  # ci:secret
    (folder / "docker").mkdir()
    (folder / "docker" / "config.json").write_text(login)
    process = subprocess.Popen(
        [program, "serve", str(folder / "config.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_CONFIG", str(folder / "docker"))
            wait_for(port)
            yield f"oci://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["folder", "s3", "oci"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place of each kind."""
    if request.param == "folder":
        (tmp_path / "remote").mkdir()
        return str(tmp_path / "remote")
    return f"{request.getfixturevalue(f'{request.param}_url')}/{uuid4().hex}"


@pytest.fixture
def place(url: str) -> Iterator[Place]:
    with closing(open_place(url)) as opened:
        yield opened


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
