"""Whose name and password to give a host: what `docker login`, a credential helper or ~/.netrc keeps for it.

$DOCKER_CONFIG/config.json, else ~/.docker/config.json; $REGISTRY_AUTH_FILE, which skopeo and podman use,
before it. A helper is a program `docker-credential-<name>` that the user put into that file.
"""

from __future__ import annotations

import base64
import json
import netrc
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from sprue.registry.protocol import Unreachable

HELPER_SECONDS = 20


def docker_login(host: str) -> str:
    """Base64 of `name:password` for a registry; "" if there is none. Raises Unreachable if a helper fails."""
    for file in _files():
        try:
            kept = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if not isinstance(kept, dict):
            continue
        helper = _table(kept, "credHelpers").get(host) or kept.get("credsStore")
        found = _kept(_table(kept, "auths").get(host))
        if not found and isinstance(helper, str):
            found = _helped(helper, host)
        if found:
            return found
    return ""


def netrc_login(host: str) -> str:
    """Base64 of `name:password` for a web server, from $NETRC or ~/.netrc; "" if there is none."""
    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        found = netrc.netrc(file).authenticators(re.sub(r":\d+$", "", host))
    except (OSError, netrc.NetrcParseError):
        return ""
    return _encoded(found[0], found[2] or "") if found else ""


def _files() -> list[Path]:
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    named = os.environ.get("REGISTRY_AUTH_FILE")
    return [Path(named), docker] if named else [docker]


def _table(kept: dict[str, Any], key: str) -> dict[str, Any]:
    found = kept.get(key)
    return found if isinstance(found, dict) else {}


def _kept(entry: object) -> str:
    try:
        auth = str(entry["auth"])  # type: ignore[index]  # TypeError is what is asked for
        base64.b64decode(auth, validate=True)
    except (KeyError, TypeError, ValueError):
        return ""
    return auth


def _helped(name: str, host: str) -> str:
    program = shutil.which(f"docker-credential-{name}") if re.fullmatch("[A-Za-z0-9._-]+", name) else None
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
        if done.returncode != 0:  # so do helpers say that they have none
            return ""
        said = json.loads(done.stdout)
        return _encoded(str(said["Username"]), str(said["Secret"]))
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        raise Unreachable(f"docker-credential-{name} failed: {type(error).__name__}", where=host) from error


def _encoded(name: str, password: str) -> str:
    return base64.b64encode(f"{name}:{password}".encode()).decode()
