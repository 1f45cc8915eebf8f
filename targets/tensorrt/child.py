"""Running engine.py in child processes: `ask` for one question, `EngineProcess` for a loaded engine."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprue.errors import SprueError

from .engine import pack, unpack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]

PROGRAM = Path(__file__).with_name("engine.py")
PROBE_SECONDS = 60.0
"""Loading TensorRT and making a CUDA context takes 2 to 10 s on a busy machine."""
BUILD_SECONDS = 1800.0
RUN_SECONDS = 120.0
"""For one batch, or for loading an engine."""
MAX_ANSWER = 16 * 2**20


class ChildError(SprueError):
    """The child said why it failed, crashed, or did not answer in time."""


def command(program: Path, verb: str, request: dict[str, Any]) -> list[str]:
    """`-P` keeps this folder off the child's path, where its modules could shadow others."""
    return [sys.executable, "-P", str(program), verb, json.dumps(request)]


def ask(
    verb: str, request: dict[str, Any] | None = None, *, seconds: float, program: Path = PROGRAM
) -> dict[str, Any]:
    """The child's answer. Raises ChildError when it fails, crashes, hangs or babbles."""
    try:
        done = subprocess.run(
            command(program, verb, request or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"no answer to '{verb}' within {seconds:g} s") from error
    if done.returncode < 0 or not done.stdout.strip():
        raise ChildError(f"'{verb}' {ending(done.returncode)}{last_line(done.stderr)}")
    try:
        answer = json.loads(done.stdout[-MAX_ANSWER:])
    except ValueError as error:
        raise ChildError(f"'{verb}' gave no JSON answer{last_line(done.stderr)}") from error
    if not isinstance(answer, dict) or "error" in answer:
        said = answer.get("error") if isinstance(answer, dict) else answer
        raise ChildError(str(said))
    return answer


def ending(code: int) -> str:
    """`was killed by SIGSEGV`, or `ended with exit code 1`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def last_line(stderr: bytes) -> str:
    """`: <the last line that the child printed>`, or nothing."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()}" if lines else ""


class EngineProcess:
    """`engine.py serve` and its frames. Raises ChildError when it crashes, hangs or answers with an error."""

    def __init__(self, plan: Path, program: Path = PROGRAM, limit: float = RUN_SECONDS) -> None:
        self.seconds = 0.0
        self._limit = limit
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the child
        self._child = subprocess.Popen(
            command(program, "serve", {"plan": str(plan.resolve())}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
        )
        self._exchange(b"")

    def __call__(self, feeds: Arrays) -> Arrays:
        outputs, facts = self._exchange(pack(feeds))
        self.seconds = float(facts.get("seconds", 0.0))
        return outputs

    def close(self) -> None:
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):  # what was not sent yet has nobody to read it
                if pipe is not None:
                    pipe.close()
        self._child.wait()
        self._log.close()

    def __del__(self) -> None:
        if hasattr(self, "_child"):
            self.close()

    def _exchange(self, message: bytes) -> tuple[Arrays, dict[str, Any]]:
        """Send a message, read the answer; whatever goes wrong, the child is gone after it."""
        if self._log.closed:
            raise ChildError("the engine's process has ended; load the artifact again")
        try:
            outputs, facts = self._answer(message)
            if "error" in facts:
                raise ChildError(str(facts["error"]))
        except BaseException:
            self.close()
            raise
        return outputs, facts

    def _answer(self, message: bytes) -> tuple[Arrays, dict[str, Any]]:
        assert self._child.stdin is not None
        self._deadline = time.monotonic() + self._limit
        try:
            left = memoryview(message)
            while left:  # a raw pipe may take less than it is given
                left = left[self._child.stdin.write(left) :]
            return unpack(self._read)
        except (OSError, EOFError) as error:
            raise ChildError(self._ended(isinstance(error, TimeoutError))) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ChildError("the engine's process answered nonsense") from error

    def _read(self, size: int) -> bytes:
        """`size` bytes, fewer at the end of the pipe. Raises TimeoutError at the deadline."""
        assert self._child.stdout is not None
        waiting, data = select.poll(), bytearray()
        waiting.register(self._child.stdout, select.POLLIN)
        while len(data) < size:
            if not waiting.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
                raise TimeoutError
            part = os.read(self._child.stdout.fileno(), min(size - len(data), 2**20))
            if not part:
                break
            data += part
        return bytes(data)

    def _ended(self, late: bool) -> str:
        if late:
            return f"the engine did not answer within {self._limit:g} s"
        try:
            code = self._child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "the engine's process closed its output"
        self._log.seek(0)
        return f"the engine's process {ending(code)}{last_line(self._log.read()[-65536:])}"
