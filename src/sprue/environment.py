"""What must be the same on two machines before one may build for the other.

Keys name tools, not machines: an action that another machine runs is cached under what this one has. So all
that enters keys from the surroundings is compared first.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import sprue.targets
from sprue import __version__
from sprue.backend import find, names
from sprue.engine.key import path_digest, source_files, tree_digest
from sprue.errors import SprueError
from sprue.machine import processor

SRC = Path(__file__).parent


def facts() -> dict[str, str]:
    """Versions of Python, sprue and each tool of each backend, sprue's code by digest, and the processor.

    Raises SprueError when a folder of backends cannot be read.
    """
    found = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "processor": processor(),
        "sprue": f"{__version__} ({_code(SRC)[:12]})",
        "targets": " ".join(_code(folder)[:12] for folder in sprue.targets.folders()),
        "numpy": version("numpy"),
        "onnx": version("onnx"),
    }
    for name in names():
        found |= _tools(name)
    return found


def _tools(backend: str) -> dict[str, str]:
    """The versions that a backend's keys hold; what it lacks, if it cannot compile here."""
    try:
        made = find(backend)
        available = made.available()
    except SprueError as error:
        return {f"backend {backend}": error.what}
    if not available.compiles:
        return {f"backend {backend}": available.missing}
    return dict(made.tools())


def _code(folder: Path) -> str:
    """The digest of a folder's files, but for what else a wheel may put beside sprue's own code."""
    shipped = f"{sprue.targets.SHIPPED.name}/"
    files: Iterable[str] = (n for n in source_files(folder) if not n.startswith(shipped))
    return tree_digest({name: path_digest(folder / name) for name in files})
