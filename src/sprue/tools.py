"""What an action's output depends on besides its inputs: versions of packages, and digests of our own code.

Code stands in the keys by content, so that a file edited in a checkout is never stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import sprue.targets
from sprue.backend import find, homes
from sprue.canonical import canonical, digest, file_digest
from sprue.target import Target

STEPPED = ("choosing", "judging", "measuring")
"""Folders that steps call into. Passes and backends stand in the keys of those who use them."""


def packages(*names: str) -> dict[str, str]:
    """Package -> version. Raises importlib.metadata.PackageNotFoundError."""
    return {name: _version(name) for name in names}


@cache
def backend_tools(name: str, target: Target) -> Mapping[str, str]:
    """Asked once a build: nothing is installed while it runs, and package metadata are slow to read."""
    backend = find(name)
    return backend.tools(target) | {"backend": str(backend.version), "code": _backend_code(name)}


@cache
def code(*paths: Path) -> str:
    """The digest of Python sources, files or whole folders, and of what lies beside them."""
    files = [f for p in paths for f in (sorted(p.rglob("*")) if p.is_dir() else [p]) if f.is_file()]
    return digest(canonical([[f.name, file_digest(f)] for f in files if f.suffix != ".pyc"]))


@cache
def steps_code() -> str:
    """The digest of the modules that the steps of a build may call."""
    here = Path(__file__).parent
    return code(*sorted(here.glob("*.py")), *(here / name for name in STEPPED))


def _backend_code(name: str) -> str:
    home = homes()[name]
    own = home / name if (home / name).is_dir() else home / f"{name}.py"
    shared = [f for folder in dict.fromkeys((sprue.targets.FOLDER, home)) for f in folder.glob("_*.py")]
    return code(own, *sorted(shared))


@cache
def _version(package: str) -> str:
    return version(package)
