"""Real servers on loopback, each in a process of its own: docker-registry, moto's S3, nginx with WebDAV."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

USER, SECRET = "ci", "secret"
LOGIN = "Y2k6c2VjcmV0"
"""Base64 of both."""
PASSWORD = "$2b$05$bBzWMdzPeybXS5NAxSCTzuUuklnw0F4NeqHfFrUdt65escT7u7vSG"
"""bcrypt of the secret."""

REGISTRY = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: test, path: {folder}/passwords}}}}
"""
NGINX = """
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/errors; {user}
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/t1; fastcgi_temp_path {folder}/t2;
  uwsgi_temp_path {folder}/t3; scgi_temp_path {folder}/t4;
  server {{
    listen 127.0.0.1:{port}; root {folder}/data; client_max_body_size 0;
    auth_basic test; auth_basic_user_file {folder}/passwords;
    location / {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""
AWS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


def program(name: str, package: str) -> str:
    """The path of a program, or a skip that says which Debian package has it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's package {package})")
    return found


@contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Its host and port; its content lies in `folder`/data. It wants the password."""
    server, port = program("docker-registry", "docker-registry"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "passwords").write_text(f"{USER}:{PASSWORD}\n")
    (folder / "config.yml").write_text(REGISTRY.format(folder=folder, port=port))
    with running([server, "serve", str(folder / "config.yml")], port):
        yield f"127.0.0.1:{port}"


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """Its host and port; its content lies in `folder`/data. It wants the password."""
    server, port = program("nginx", "nginx"), free_port()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "passwords").write_text(f"{USER}:{PASSWORD}\n")
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, user=user))
    with running([server, "-p", str(folder), "-c", str(folder / "nginx.conf")], port):
        yield f"127.0.0.1:{port}"


@contextmanager
def s3() -> Iterator[str]:
    """The endpoint of moto's server."""
    pytest.importorskip("moto", reason="moto[server] is not installed")
    port = free_port()
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Below those that systems give to connections, which would else take it before the server does."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens on {port}")
