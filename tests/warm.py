"""The command line in processes that are forked from one which has imported everything.

Each is a process of its own, with its own folder, variables, output and end, for a tenth of what starting
Python and importing onnx cost. `python warm.py` is the one they come from: a line of its standard input asks
for one (JSON: arguments, folder, environment, files for its output), the first line of its answer is the
process's id, and the second how it ended.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

LIBRARIES = ("numpy", "onnx", "rich.console", "jinja2", "openvino", "unicorn", "capstone")
"""Imported before the fork. onnxruntime is not: it starts a thread, which the children would lack."""
Forked = multiprocessing.get_context("fork").Process
AT_START = ("PYTHON", "LD_", "SPRUE_TARGETS")
"""Beginnings of variables that count when Python starts or sprue is imported."""


class Warm:
    """Starts processes of `sprue`. `environment`: what is common to them; `folder`: for their output."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = dict(environment)
        self._files = [str(folder / name) for name in ("stdout", "stderr")]
        self._origin: subprocess.Popen[str] | None = None

    def run(
        self, folder: Path, arguments: Sequence[str], seconds: float, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """One process, in `folder`, until its end: after `seconds` it is killed, and its code is that."""
        if self._origin is None:
            self._origin = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve())],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        requests, answers = self._origin.stdin, self._origin.stdout
        assert requests is not None
        assert answers is not None
        asked = [arguments, str(folder), {**self._environment, **environment}, self._files]
        requests.write(json.dumps(asked) + "\n")
        requests.flush()
        late = threading.Timer(seconds, os.kill, (int(answers.readline()), signal.SIGKILL))
        late.start()
        code = int(answers.readline())
        late.cancel()
        out, err = (Path(f).read_text() for f in self._files)
        return subprocess.CompletedProcess(arguments, code, out, err)

    def close(self) -> None:
        if self._origin is not None:
            self._origin.communicate(timeout=60)


def main() -> None:
    import sprue
    import sprue.targets

    own = [m.name for m in pkgutil.walk_packages(sprue.__path__, "sprue.") if m.name != "sprue.__main__"]
    backends = [f"sprue.targets.{m.name}" for m in pkgutil.iter_modules([str(sprue.targets.FOLDER)])]
    for name in (*LIBRARIES, *own, *backends):
        with contextlib.suppress(ImportError):  # for whoever needs it to say
            importlib.import_module(name)
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    for line in iter(sys.stdin.readline, ""):
        process = Forked(target=_become, args=json.loads(line))
        process.start()
        print(process.pid, file=answers, flush=True)
        process.join()
        print(process.exitcode, file=answers, flush=True)


def _become(arguments: list[str], folder: str, environment: dict[str, str], files: list[str]) -> None:
    """As `python -m sprue` begins."""
    for number, name in enumerate([os.devnull, *files]):
        opened = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.argv = ["sprue", *arguments]
    from sprue.cli import main as sprue

    sprue()


if __name__ == "__main__":
    main()
