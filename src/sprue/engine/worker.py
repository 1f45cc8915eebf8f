"""A worker process: `python -m sprue.engine.worker`. Runs actions one after the other, warm.

It reads one JSON request per line from standard input and writes one JSON answer per line to what was
standard output. While an action runs, file descriptors 1 and 2 go to its log, so that no library can disturb
the protocol. Heavy imports stay loaded between actions. Each action runs in its own work folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from sprue.errors import CheckError, SprueError

_UNPRINTABLE = contextlib.suppress(AttributeError, ValueError, OSError)
"""What printing raises after an action has closed or replaced the standard streams."""


def main() -> None:
    # The protocol's descriptors are private to this process: children of actions must not inherit them.
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    waiting: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    own = os.getpid()
    while True:
        answer = _answer(json.loads(waiting.get()))
        if os.getpid() != own:
            os._exit(1)  # a child that the action forked, and that came back here
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _listen(requests: TextIO, waiting: SimpleQueue[str]) -> None:
    """Pass the requests on. At their end the build is gone, however it went: go too, with all children."""
    for line in requests:
        waiting.put(line)
    os.killpg(0, signal.SIGKILL)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        _begin(request)
    except OSError as error:  # a full disk; and there is no log to say more in
        words = {"what": f"it cannot begin: {error.strerror}", "where": str(error.filename), "remedy": ""}
        return {"ok": False, "refused": False, **words, "bug": ""}
    started = time.perf_counter()
    try:
        _call(request)
        return {"ok": True, "seconds": time.perf_counter() - started}
    except SprueError as error:
        refused = isinstance(error, CheckError)
        words = {"what": error.what, "where": error.where, "remedy": error.remedy}
        return {"ok": False, "refused": refused, **words, "bug": ""}
    except Exception as error:  # the whole point: whatever a backend does, the build goes on
        bug = traceback.format_exc()
        with _UNPRINTABLE:
            sys.stderr.write(bug)
        what = f"{type(error).__name__}: {str(error).strip() or '(no message)'}"
        words = {"what": what[:2000], "where": "", "remedy": ""}
        return {"ok": False, "refused": False, **words, "bug": bug}
    finally:
        _flush()


def _begin(request: dict[str, Any]) -> None:
    """Let what is printed go to the action's log, and go to its work folder."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(Path(request["out"]).parent)


def _flush() -> None:
    """Empty all buffers into the log, C's too: what stays there would turn up in the next action's log."""
    for stream in (sys.stdout, sys.stderr):
        with _UNPRINTABLE:
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def _call(request: dict[str, Any]) -> None:
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {name: Path(path) for name, path in request["inputs"].items()}
    function(inputs, request["params"], Path(request["out"]))


if __name__ == "__main__":
    main()
