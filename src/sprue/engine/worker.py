"""A worker process: `python -m sprue.engine.worker`. Runs actions one after the other, warm.

It reads one JSON request per line from standard input and writes one JSON answer per line to what was
standard output. While an action runs, file descriptors 1 and 2 go to its log, so that no library can disturb
the protocol. Heavy imports stay loaded between actions.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from sprue.errors import CheckError, SprueError


def main() -> None:
    # The protocol's descriptors are private to this process: children of actions must not inherit them.
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    for line in requests:
        answer = _answer(json.loads(line))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    started = time.perf_counter()
    try:
        _call(request)
        return {"ok": True, "seconds": time.perf_counter() - started}
    except SprueError as error:
        refused = isinstance(error, CheckError)
        words = {"what": error.what, "where": error.where, "remedy": error.remedy}
        return {"ok": False, "refused": refused, **words, "bug": ""}
    except Exception as error:  # the whole point: whatever a backend does, the build goes on
        traceback.print_exc()
        what = f"{type(error).__name__}: {str(error).strip() or '(no message)'}"
        words = {"what": what[:2000], "where": "", "remedy": ""}
        return {"ok": False, "refused": False, **words, "bug": traceback.format_exc()}
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _call(request: dict[str, Any]) -> None:
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {name: Path(path) for name, path in request["inputs"].items()}
    function(inputs, request["params"], Path(request["out"]))


if __name__ == "__main__":
    main()
