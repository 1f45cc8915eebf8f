"""Actions for the tests of executors. Nodes of the test's cluster find this module by PYTHONPATH.

With the parameter `marks`, a folder on this machine, each start of an action leaves a file there: its name is
the action's, the process, and the process id of the Ray node that it runs on ("here" for none).
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sprue.errors import CheckError, SprueError

Inputs = Mapping[str, Path]
Params = Mapping[str, Any]


def facts() -> dict[str, str]:
    return {"python": sys.version, "colour": os.environ.get("SPRUE_TEST_COLOUR", "none")}


def mix(inputs: Inputs, params: Params, out: Path) -> None:
    """Every input, file or folder, by content and by the names that an action sees, into two files."""
    _mark(params)
    time.sleep(params.get("seconds", 0.0))
    lines = []
    for name, path in sorted(inputs.items()):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            lines.append(f"{name} {path.name} {file.relative_to(path)} {digest}")
    (out / "deep" / "er").mkdir(parents=True)
    (out / "deep" / "er" / "digests.txt").write_text("\n".join(lines))
    (out / "bytes.bin").write_bytes(hashlib.sha256("\n".join(lines).encode()).digest() * params["blocks"])


def process(inputs: Inputs, params: Params, out: Path) -> None:
    """Who runs the worker process."""
    (out / "parent.txt").write_text(str(os.getppid()))


def abort(inputs: Inputs, params: Params, out: Path) -> None:
    _mark(params)
    print("these are my last words", flush=True)
    os.abort()


def kill_ray(inputs: Inputs, params: Params, out: Path) -> None:
    """Take Ray's own process along, each time."""
    _mark(params)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def user_error(inputs: Inputs, params: Params, out: Path) -> None:
    raise SprueError("the label is wrong", where="data.csv:7", remedy="write a number")


def refusal(inputs: Inputs, params: Params, out: Path) -> None:
    raise CheckError("it is too large", remedy="prune it")


def bug(inputs: Inputs, params: Params, out: Path) -> None:
    raise ZeroDivisionError("by zero")


def link(inputs: Inputs, params: Params, out: Path) -> None:
    (out / "link").symlink_to("/etc/hostname")


def sleep(inputs: Inputs, params: Params, out: Path) -> None:
    """With a child process, as a compiler would be."""
    with subprocess.Popen(["sleep", "600"]) as child:
        _mark(params, child.pid)
        child.wait()


def _mark(params: Params, pid: int | None = None) -> None:
    if "marks" in params:
        node = os.environ.get("RAY_RAYLET_PID", "here")
        Path(params["marks"], f"{params['name']} {pid or os.getpid()} {node}").touch()
