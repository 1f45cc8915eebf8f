"""Environments for peers: what sprue is held against is no dependency of it, and often clashes with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sprue-benchmarks"
"""Where benchmarks keep theirs."""


def installed(folder: Path, packages: Sequence[str], base: str = sys.executable) -> Path:
    """The interpreter of a virtual environment with these packages, each with its version.

    Made once: again when it broke off, or when other packages or another version of Python are asked for.
    `base`: the Python to make it with. Raises CalledProcessError when it cannot be made.
    """
    python, ready = folder / "bin" / "python", folder / "ready.txt"
    asked = subprocess.run([base, "--version"], capture_output=True, text=True, check=True)
    wanted = "\n".join([asked.stdout.strip(), *packages])
    if not ready.is_file() or ready.read_text() != wanted:
        print(f"installing {', '.join(packages)} in {folder}", file=sys.stderr)
        subprocess.run([base, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        ready.write_text(wanted)
    return python
