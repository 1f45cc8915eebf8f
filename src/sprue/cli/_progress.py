"""Progress: a live picture on a terminal, plain lines in a pipe, JSON lines for machines. All on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sprue.cli import _text

if TYPE_CHECKING:
    from rich.console import Group

    from sprue.engine.cache import Cache
    from sprue.engine.run import Event, Listener

ENDED = ("cached", "done", "failed", "skipped")
COLOURS = {"done": "green", "failed": "red", "skipped": "yellow", "note": "yellow"}
SHOWN = 12
"""Running actions that the picture shows at most."""


@contextmanager
def progress(cache: Cache, *, as_json: bool, trace: Path | None) -> Iterator[Listener]:
    """A listener for the engine, saying what it hears while the block runs. `trace` is written at its end."""
    from sprue.trace import Trace

    recorder = Trace()
    if trace is not None:
        trace.touch()  # what cannot be written is said before anything runs
    try:
        with _json_lines() if as_json else _live(cache) if sys.stderr.isatty() else _plain_lines() as say:

            def listen(event: Event) -> None:
                recorder(event)
                say(event)

            yield listen
    finally:
        if trace is not None:
            recorder.write(trace)


@contextmanager
def _json_lines() -> Iterator[Listener]:
    yield lambda event: click.echo(json.dumps(asdict(event)), err=True)


@contextmanager
def _plain_lines() -> Iterator[Listener]:
    """What was cached goes without saying, and so does why something was skipped: that has just failed."""

    def say(event: Event) -> None:
        if event.state not in ("planned", "started", "cached"):
            seconds = f" ({_text.seconds(event.seconds)})" if event.state == "done" else ""
            text = f": {event.text}" if event.text and event.state != "skipped" else ""
            click.echo(f"{event.state:8}{event.action}{seconds}{text}", err=True)

    yield say


@contextmanager
def _live(cache: Cache) -> Iterator[Listener]:
    from rich.console import Console
    from rich.live import Live

    picture = _Picture(cache)

    def listen(event: Event) -> None:
        if event.state in ("note", "failed"):
            text = f"{click.style(event.state, fg=COLOURS[event.state])} {event.action}: {event.text}"
            live.console.print(text, markup=False, highlight=False)
        picture.take(event)

    with Live(picture, console=Console(stderr=True), transient=True, refresh_per_second=8) as live:
        yield listen


class _Picture:
    """What runs now, how much is done, and how long the rest took last time."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._running: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._started = time.monotonic()
        self._expected: dict[str, float] = {}
        self._total = 0

    def take(self, event: Event) -> None:
        if event.state == "planned":
            self._total += 1
            last = self._cache.last(event.action)
            self._expected[event.action] = last.seconds if last is not None else 0.0
        elif event.state == "started":
            self._running[event.action] = time.monotonic()
        elif event.state in ENDED:
            self._running.pop(event.action, None)
            self._expected.pop(event.action, None)
            self._counts[event.state] += 1

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        now = time.monotonic()
        lines = []
        for recipe, actions in self._tree().items():
            lines.append(Text(f"  {recipe}"))
            lines += [Text(f"    {now - since:6.1f} s  {name}") for name, since in actions]
        ended = sum(self._counts.values())
        words = ", ".join(f"{self._counts[s]} {s}" for s in ENDED if self._counts[s]) or "starting"
        left = sum(self._expected.values()) / max(1, len(self._running))
        rest = f", about {_text.seconds(left)} left" if left >= 1 else ""
        lines.append(
            Text(f"{now - self._started:6.1f} s  {ended}/{self._total} actions: {words}{rest}", style="bold")
        )
        return Group(*lines)

    def _tree(self) -> dict[str, list[tuple[str, float]]]:
        """The running actions below their recipe or model."""
        tree: dict[str, list[tuple[str, float]]] = {}
        for name, since in list(self._running.items())[:SHOWN]:
            top, _, rest = name.partition("/")
            tree.setdefault(top, []).append((rest, since))
        return tree
