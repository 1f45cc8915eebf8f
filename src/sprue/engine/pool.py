"""A pool of warm worker processes. A worker that crashes or hangs is replaced; only its own action fails."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ActionFailed(Exception):
    """An action did not succeed. `bug` holds a traceback when the error was not the user's.

    `refused`: it ran well, and its answer is no (it raised a CheckError).
    """

    def __init__(
        self, what: str, where: str = "", remedy: str = "", bug: str = "", *, refused: bool = False
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.bug = bug
        self.refused = refused


@dataclass(frozen=True)
class Request:
    """Paths, ready to be read and written: what an action is for a worker."""

    function: str
    inputs: Mapping[str, str]
    params: Mapping[str, Any]
    out: str
    log: str


class Pool:
    """`size` workers, started when first needed, each with `threads` threads for numeric libraries."""

    def __init__(self, size: int, threads: int) -> None:
        self.size = size
        self._threads = threads
        self._idle: list[subprocess.Popen[bytes]] = []
        self._all: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(self, request: Request, timeout: float) -> float:
        """Run one action and return its seconds. Raises ActionFailed. Called from several threads at once."""
        worker = self._take()
        healthy = False
        try:
            answer = _exchange(worker, request, timeout)
            healthy = True
        finally:
            self._give_back(worker, healthy)
        if answer["ok"]:
            return float(answer["seconds"])
        words = (answer["what"], answer["where"], answer["remedy"], answer["bug"])
        raise ActionFailed(*words, refused=answer["refused"])

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all workers and what they started."""
        with self._lock:
            self._closed = True
            doomed, self._all, self._idle = self._all, set(), []
        for worker in doomed:
            _kill(worker)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise ActionFailed("the build was stopped")
            if self._idle:
                return self._idle.pop()
            environment = dict.fromkeys(THREAD_VARIABLES, str(self._threads)) | dict(os.environ)
            worker = subprocess.Popen(
                [sys.executable, "-m", "sprue.engine.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                start_new_session=True,
            )
            self._all.add(worker)
            return worker

    def _give_back(self, worker: subprocess.Popen[bytes], healthy: bool) -> None:
        with self._lock:
            if healthy and not self._closed:
                self._idle.append(worker)
                return
            self._all.discard(worker)
        _kill(worker)


def _exchange(worker: subprocess.Popen[bytes], request: Request, timeout: float) -> dict[str, Any]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps(vars(request)).encode() + b"\n")
        worker.stdin.flush()
    except OSError as error:
        raise ActionFailed(_death(worker)) from error
    deadline = time.monotonic() + timeout
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while not received.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise ActionFailed(
                    f"it took longer than {timeout:g} s and was stopped", remedy="allow more with --timeout"
                )
            chunk = os.read(worker.stdout.fileno(), 1 << 16)
            if not chunk:
                raise ActionFailed(_death(worker))
            received += chunk
    answer: dict[str, Any] = json.loads(received)
    return answer


def _death(worker: subprocess.Popen[bytes]) -> str:
    """What ended a worker, in words."""
    try:
        code = worker.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return "its process closed the connection"
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
    return f"its process was ended by {name}{hint}"


def _kill(worker: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
