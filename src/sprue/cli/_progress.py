"""Progress on a terminal: what runs now, and how much is done. In a pipe: nothing but warnings."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Group

    from sprue.engine.run import Event, Listener

ENDED = ("cached", "done", "failed", "skipped")


class _Picture:
    """What the terminal shows; `render` is called by rich some times a second."""

    def __init__(self) -> None:
        self.running: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.started = time.monotonic()

    def take(self, event: Event) -> None:
        if event.state == "started":
            self.running[event.action] = time.monotonic()
        elif event.state in ENDED:
            self.running.pop(event.action, None)
            self.counts[event.state] += 1

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        now = time.monotonic()
        lines = [Text(f"  {now - since:5.1f} s  {name}") for name, since in self.running.items()]
        counts = ", ".join(f"{self.counts[s]} {s}" for s in ENDED if self.counts[s])
        return Group(*lines, Text(f"{now - self.started:5.1f} s  {counts or 'planning'}", style="bold"))


@contextmanager
def progress(*, quiet: bool) -> Iterator[Listener]:
    """A listener for the engine, showing what it hears while the block runs."""

    def note(event: Event) -> None:
        if event.state == "note":
            click.echo(f"{click.style('note:', fg='yellow')} {event.action}: {event.text}", err=True)

    if quiet or not sys.stderr.isatty():
        yield note
        return
    from rich.console import Console
    from rich.live import Live

    picture = _Picture()

    def listen(event: Event) -> None:
        note(event)
        picture.take(event)

    with Live(picture, console=Console(stderr=True), transient=True, refresh_per_second=8):
        yield listen
