"""A trace of a build in the Trace Event Format, which Perfetto and chrome://tracing open.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU: complete events ("ph": "X"),
times in microseconds. Each action is drawn in the lowest lane that was free when it started.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprue.durable import naming

if TYPE_CHECKING:
    from sprue.engine.run import Event


class Trace:
    """A listener for the engine that remembers what it hears; `write` puts it into a file."""

    def __init__(self) -> None:
        self._zero = time.perf_counter()
        self._running: dict[str, tuple[float, int]] = {}
        self._events: list[dict[str, Any]] = []

    def __call__(self, event: Event) -> None:
        now = (time.perf_counter() - self._zero) * 1e6
        if event.state == "started":
            busy = {lane for _, lane in self._running.values()}
            self._running[event.action] = now, next(i for i in range(len(busy) + 1) if i not in busy)
        elif event.action in self._running:
            began, lane = self._running.pop(event.action)
            self._events.append(_event(event, ph="X", ts=began, dur=now - began, tid=lane + 1))
        else:
            self._events.append(_event(event, ph="i", ts=now, s="p", tid=0))

    def write(self, path: Path) -> None:
        with naming(path):
            path.write_text(json.dumps({"traceEvents": self._events, "displayTimeUnit": "ms"}))


def _event(event: Event, **fields: Any) -> dict[str, Any]:
    arguments = {"state": event.state} | ({"text": event.text} if event.text else {})
    return {"name": event.action, "cat": event.state, "pid": 1, "args": arguments, **fields}
