"""A worker process: `python -m sprue.engine.worker [MODULE...]`. Does jobs one after the other, warm.

It imports the modules and writes an empty line to standard output: it is ready. Then it reads one JSON
message per line from standard input, and writes one JSON answer per line to what was standard output. A
message is a job, or a bare request (for Ray's nodes, which have no cache). While an action runs, file
descriptors 1 and 2 go to its log, so that no library can disturb the protocol. Heavy imports stay loaded
between actions.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from sprue.engine.job import ActionFailed, Request, failing, job_of, lay_out, take_in
from sprue.errors import FULL, CheckError, SprueError

_UNPRINTABLE = contextlib.suppress(AttributeError, ValueError, OSError)
"""What printing raises after an action has closed or replaced the standard streams."""
_C = ctypes.CDLL(None)


def main() -> None:
    # The protocol's descriptors are private to this process: children of actions must not inherit them.
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    waiting: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    _import(sys.argv[1:])
    try:
        answers.write("\n")
        answers.flush()
    except OSError:
        os._exit(1)  # the build is gone, or will say that this process is; a traceback would be noise
    while True:
        answers.write(json.dumps(_answer(json.loads(waiting.get()))) + "\n")
        answers.flush()


def _import(modules: Sequence[str]) -> None:
    """What cannot be imported is for the action that needs it to say: its log keeps why.

    What is there afterwards is there for good: collections of garbage need not go through it again and again.
    """
    gc.disable()
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    gc.freeze()
    gc.enable()


def _listen(requests: TextIO, waiting: SimpleQueue[str]) -> None:
    """Pass the requests on. At their end the build is gone, however it went: go too, with all children."""
    for line in requests:
        waiting.put(line)
    os.killpg(0, signal.SIGKILL)


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    try:
        made = _do(message["job"]) if "job" in message else {"seconds": _run(Request(**message["request"]))}
        return {"ok": True, **made}
    except ActionFailed as error:
        return {"ok": False, **vars(error)}


def _do(said: dict[str, Any]) -> dict[str, Any]:
    """Lay out the inputs, run the action, take in what it made. Raises ActionFailed."""
    job = job_of(said)
    cache = job.open_cache()
    with failing():
        request = lay_out(job, cache)
    seconds = _run(request)
    with failing():
        entry = take_in(job, cache, seconds)
    return {"files": entry.files, "seconds": entry.seconds}


def _run(request: Request) -> float:
    """Call the function; the seconds that it took. Raises ActionFailed."""
    with failing():
        _begin(request)
    started = time.perf_counter()
    try:
        _call(request)
        return time.perf_counter() - started
    except SprueError as error:
        refused = isinstance(error, CheckError)
        raise ActionFailed(error.what, error.where, error.remedy, refused=refused) from error
    except Exception as error:  # the whole point: whatever a backend does, the build goes on
        bug = traceback.format_exc()
        with _UNPRINTABLE:
            sys.stderr.write(bug)
        what = f"{type(error).__name__}: {str(error).strip() or '(no message)'}"
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        raise ActionFailed(what[:2000], remedy=FULL if full else "", bug=bug) from error
    finally:
        _flush()


def _begin(request: Request) -> None:
    """Let what is printed go to the action's log, and go to its work folder."""
    log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(os.path.dirname(request.out))  # noqa: PTH120  # called for each action, however small


def _flush() -> None:
    """Empty all buffers into the log, C's too: what stays there would turn up in the next action's log."""
    for stream in (sys.stdout, sys.stderr):
        with _UNPRINTABLE:
            stream.flush()
    _C.fflush(None)


def _call(request: Request) -> None:
    module, _, name = request.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {name: Path(path) for name, path in request.inputs.items()}
    own = os.getpid()
    try:
        function(inputs, request.params, Path(request.out))
    finally:
        if os.getpid() != own:
            os._exit(1)  # a child that the action forked, and that came back here


if __name__ == "__main__":
    main()
