"""Peak memory: the largest resident set of a fresh process that loads one artifact and runs it.

The process is `deployed.py`. It opens the artifact with the loader that ships beside it, as a server does
that runs it, so nothing of sprue is in the figure. Where an artifact ships no loader, or its loader's runtime
is not installed here, its backend opens it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sprue import data
from sprue.backend import Contract, find
from sprue.border import integers
from sprue.errors import SprueError
from sprue.variant import Variant

SAMPLES = 8
SECONDS = 600
PROCESS = Path(__file__).with_name("deployed.py")


def measure(artifact: Path, variant: Mapping[str, Any], samples: Path) -> dict[str, int]:
    """`peak_memory` and `start_memory` in bytes. Raises SprueError when the process fails."""
    wanted = Variant.from_json(variant)
    backend = find(wanted.backend)
    contract = backend.contract(artifact, wanted)
    request = {
        "loader": str(contract.loader) if _opens_here(contract) else None,
        "artifact": str(artifact),
        "entry": str(artifact / backend.entry(wanted)),
        "contract": {"variant": variant, "requires": {"runtime": dict(contract.runtime)}},
    }
    with tempfile.TemporaryDirectory() as folder:
        fed = {}
        few = {name: array[:SAMPLES] for name, array in data.read_arrays(samples).items()}
        taken = few if contract.border is None else integers(few, contract.border)
        for number, (name, array) in enumerate(taken.items()):
            fed[name] = f"{folder}/{number}.npy"
            np.save(fed[name], array, allow_pickle=False)
        return _said(request | {"samples": fed})


def _opens_here(contract: Contract) -> bool:
    """Whether the loader finds its runtime in the environment of this process."""
    try:
        return contract.loader is not None and all(version(package) for package in contract.runtime)
    except PackageNotFoundError:
        return False


def _said(request: Mapping[str, Any]) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-P", str(PROCESS)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise SprueError(f"the process that was to measure its memory failed: {said[0]}")
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found
