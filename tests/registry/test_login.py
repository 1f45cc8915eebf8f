"""Whose password goes where."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sprue.registry.login import docker_login, netrc_login
from sprue.registry.protocol import Unreachable

HELPER = """#!/bin/sh
read -r host
[ "$1" = get ] || exit 2
case "$host" in
  known.example) printf '{"ServerURL":"%s","Username":"ci","Secret":"secret"}' "$host";;
  odd.example) printf 'what?';;
  *) echo credentials not found; exit 1;;
esac
"""
LOGIN = base64.b64encode(b"ci:secret").decode()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker configuration, and a credential helper `test` on the PATH."""
    (tmp_path / "docker-credential-test").write_text(HELPER)
    (tmp_path / "docker-credential-test").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return tmp_path / "config.json"


def test_a_login_is_that_of_exactly_its_host(config: Path) -> None:
    config.write_text(json.dumps({"auths": {"a.example": {"auth": LOGIN}}}))
    assert docker_login("a.example") == LOGIN
    assert docker_login("a.example:5000") == docker_login("b.example") == ""


@pytest.mark.parametrize("kept", [{"credsStore": "test"}, {"credHelpers": {"known.example": "test"}}])
def test_a_credential_helper_is_asked(config: Path, kept: object) -> None:
    config.write_text(json.dumps(kept))
    assert docker_login("known.example") == LOGIN
    assert docker_login("unknown.example") == ""


def test_a_helper_that_talks_nonsense_is_said(config: Path) -> None:
    config.write_text(json.dumps({"credsStore": "test"}))
    with pytest.raises(Unreachable, match="docker-credential-test failed"):
        docker_login("odd.example")


@pytest.mark.parametrize("name", ["absent", "../test", "test; true", ""])
def test_a_helper_that_is_none_is_not_run(config: Path, name: str) -> None:
    config.write_text(json.dumps({"credsStore": name}))
    assert docker_login("known.example") == ""


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": []}', '{"auths": {"x": {"auth": "%%%"}}}', "[" * 9999]
)
def test_a_configuration_that_is_none_has_no_login(config: Path, text: str) -> None:
    config.write_text(text)
    assert docker_login("x") == ""


def test_the_file_of_podman_and_skopeo_comes_first(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(json.dumps({"auths": {"x": {"auth": LOGIN}, "y": {"auth": LOGIN}}}))
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"x": {"auth": "b3RoZXI6eA=="}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert docker_login("x") == "b3RoZXI6eA=="
    assert docker_login("y") == LOGIN


def test_a_web_server_is_logged_into_by_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert netrc_login("host.example") == ""
    (tmp_path / "netrc").write_text("machine host.example login ci password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    assert netrc_login("host.example:8081") == LOGIN
    assert netrc_login("other.example") == ""
    (tmp_path / "netrc").write_text("what?")
    assert netrc_login("host.example") == ""
