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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sprue.engine.cache import Entry
from sprue.engine.job import ActionFailed, Job, Request
from sprue.engine.memory import resident

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
STARTING = 60.0
"""Seconds that a new worker may take to start; they are not counted as its first action's."""
LOOK_AFTER = 0.1
"""Seconds after which a silent worker is looked after."""


class Executor(Protocol):
    """What runs actions, `size` of them at once: a `Pool` on this machine, a `RayPool` on a cluster."""

    size: int

    def run(self, job: Job) -> Entry:
        """Do a job. Raises ActionFailed. Called from several threads at once."""

    def close(self) -> None:
        """Stop what runs. Calls of `run` then raise ActionFailed."""


class Pool:
    """`size` workers, started when first needed, each with `threads` threads for numeric libraries.

    `memory`: the bytes that all workers together may use; when they use more, the largest is ended and its
    action fails, before the system chooses a victim. None: no limit.
    `preload`: modules that every worker imports when it starts; the first starts at once, so that it does so
    while the build is still being planned.
    """

    def __init__(
        self, size: int, threads: int, memory: int | None = None, *, preload: Sequence[str] = ()
    ) -> None:
        self.size = size
        self._preload = preload
        self._threads = threads
        self._memory = memory
        self._resident: dict[int, int] = {}
        self._idle: list[subprocess.Popen[bytes]] = []
        self._all: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._early = self._started() if preload else None

    def run(self, job: Job) -> Entry:
        """Do a job. Raises ActionFailed. Called from several threads at once."""
        answer = self._ask({"job": job.as_json()}, job.timeout)
        return Entry(job.key, job.name, job.parts, answer["files"], answer["seconds"])

    def call(self, request: Request, timeout: float) -> float:
        """Only call a function, and return its seconds. Raises ActionFailed."""
        return float(self._ask({"request": vars(request)}, timeout)["seconds"])

    def _ask(self, message: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        worker, new = self._take()
        healthy = False
        try:
            if new:
                _receive(worker, STARTING, lambda: None)
            answer = _exchange(worker, message, timeout, lambda: self._refuse_too_large(worker.pid))
            healthy = True
        finally:
            self._resident.pop(worker.pid, None)
            self._give_back(worker, healthy)
        if not answer.pop("ok"):
            raise ActionFailed(**answer)
        return answer

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all workers and what they started. Whoever waits for one of them cleans up after it."""
        with self._lock:
            self._closed = True
            idle = [*self._idle, self._early] if self._early else self._idle
            busy = self._all.difference(idle)
            self._idle, self._early = [], None
            self._all.difference_update(idle)
        for worker in busy:
            _kill_group(worker)
        for worker in idle:
            _kill(worker)

    def _refuse_too_large(self, pid: int) -> None:
        """Raises ActionFailed if the workers use too much and this one uses the most. In a waiting thread."""
        if self._memory is None:
            return
        with self._lock:
            mine = self._resident[pid] = resident(pid)
            total, largest = sum(self._resident.values()), max(self._resident.values())
        if total > self._memory and mine == largest:
            raise ActionFailed(
                f"it used {mine >> 20} MiB of memory, when all workers may use {self._memory >> 20} MiB",
                remedy="allow more with --memory, or run fewer at once with --jobs",
            )

    def _take(self) -> tuple[subprocess.Popen[bytes], bool]:
        """A worker, and whether it is new: then it will say an empty line when it is ready."""
        with self._lock:
            if self._closed:
                raise ActionFailed("the build was stopped")
            while self._idle:
                worker = self._idle.pop()
                if worker.poll() is None:
                    return worker, False
                self._all.discard(worker)  # it died between two actions, which is no fault of the next
                _kill(worker)
            worker, self._early = self._early or self._started(), None
            return worker, True

    def _started(self) -> subprocess.Popen[bytes]:
        worker = _start(self._threads, self._preload)
        self._all.add(worker)
        return worker

    def _give_back(self, worker: subprocess.Popen[bytes], healthy: bool) -> None:
        with self._lock:
            if healthy and not self._closed:
                self._idle.append(worker)
                return
            self._all.discard(worker)
        _kill(worker)


def _start(threads: int, preload: Sequence[str]) -> subprocess.Popen[bytes]:
    """-P: what lies in the user's current folder must not shadow a library."""
    environment = dict.fromkeys(THREAD_VARIABLES, str(threads)) | dict(os.environ)
    search = os.pathsep.join(str(Path(p).absolute()) for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "sprue.engine.worker", *preload],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | {"PYTHONPATH": search},
        start_new_session=True,
    )


def _exchange(
    worker: subprocess.Popen[bytes], message: Mapping[str, Any], timeout: float, look: Callable[[], None]
) -> dict[str, Any]:
    assert worker.stdin is not None
    try:
        worker.stdin.write(json.dumps(message).encode() + b"\n")
        worker.stdin.flush()
    except OSError as error:
        raise ActionFailed(_death(worker)) from error
    received = _receive(worker, timeout, look)
    try:
        answer: dict[str, Any] = json.loads(received)
    except ValueError as error:
        raise ActionFailed(f"its process answered {received[:80]!r}, which is no answer") from error
    return answer


def _receive(worker: subprocess.Popen[bytes], timeout: float, look: Callable[[], None]) -> bytes:
    """The worker's answer, a line. Raises ActionFailed if it dies or takes longer than `timeout` seconds.

    `look` is called every now and then, and may raise too.
    """
    assert worker.stdout is not None
    deadline = time.monotonic() + timeout
    received = b""
    with selectors.PollSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if selector.select(max(0.0, min(left, LOOK_AFTER))):
                chunk = os.read(worker.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise ActionFailed(_death(worker))
                received += chunk
            elif worker.poll() is not None:
                raise ActionFailed(_death(worker))  # and a child that it forked holds the connection open
            elif left <= 0:
                raise ActionFailed(
                    f"it took longer than {timeout:g} s and was stopped", remedy="allow more with --timeout"
                )
            else:
                look()
    return received


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


def _kill_group(worker: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)


def _kill(worker: subprocess.Popen[bytes]) -> None:
    _kill_group(worker)
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
