"""How long a place is waited for, and how often it is asked: wrappers around any registry.

`Timed` ends what takes longer than it should: time limits of sockets do not do, a server that sends a byte
now and then never exceeds them. `Retrying` asks again when it may help; a stream that breaks off goes on
where it broke. `patient` is both.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sprue.registry.protocol import Content, Descriptor, Registry, Stream, Unreachable

GRACE = 30.0
SLOWEST = 1 << 17
"""Seconds that anything may take, and bytes a second that a transfer must move after them."""
ATTEMPTS = 5
PAUSE = 0.25
"""Seconds before the second attempt; twice as many before each later one, by chance up to half less."""
PROGRESS = 1 << 20
"""Bytes after which the attempts of a stream count anew: fewer could go on for ever."""

Value = TypeVar("Value")


def patient(registry: Registry) -> Registry:
    return Retrying(Timed(registry))


def within(seconds: float, task: Callable[[threading.Event], Value]) -> Value:
    """What a task returns or raises. Raises Unreachable if it takes longer: then its event is set, and it is
    left to itself."""
    stop = threading.Event()
    answers: queue.SimpleQueue[tuple[Value | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((task(stop), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        stop.set()
        raise Unreachable(f"no answer within {seconds:.0f} s", transient=True) from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # without an error there is a value


class Timed:
    def __init__(self, inner: Registry, grace: float = GRACE, slowest: int = SLOWEST) -> None:
        self._inner = inner
        self._grace = grace
        self._slowest = slowest

    def has(self, what: Descriptor) -> bool:
        return within(self._grace, lambda _: self._inner.has(what))

    def put(self, what: Descriptor, content: Content) -> None:
        within(self._grace + what.size / self._slowest, lambda _: self._inner.put(what, content))

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        return self._watched(within(self._grace, partial(self._open, what, start)))

    def resolve(self, ref: str) -> Descriptor | None:
        return within(self._grace, lambda _: self._inner.resolve(ref))

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        within(self._grace, lambda _: self._inner.commit(ref, what, instead_of=instead_of))

    def close(self) -> None:
        self._inner.close()

    def _open(self, what: Descriptor, start: int, stop: threading.Event) -> Stream:
        stream = self._inner.get(what, start)
        if stop.is_set():
            stream.close()
        return stream

    def _watched(self, stream: Stream) -> Stream:
        """Only the time that the place takes counts, not what is done with its bytes."""
        waited, received = 0.0, 0
        with contextlib.closing(stream):
            while True:
                began = time.monotonic()
                piece = next(stream, None)
                waited += time.monotonic() - began
                if piece is None:
                    return
                received += len(piece)
                if waited > self._grace + received / self._slowest:
                    raise Unreachable(f"too slow: {received} bytes in {waited:.0f} s")
                yield piece


class Retrying:
    """`sleep`: what waits between attempts."""

    def __init__(
        self,
        inner: Registry,
        attempts: int = ATTEMPTS,
        pause: float = PAUSE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner = inner
        self._attempts = attempts
        self._pause = pause
        self._sleep = sleep

    def has(self, what: Descriptor) -> bool:
        return self._again(lambda: self._inner.has(what))

    def put(self, what: Descriptor, content: Content) -> None:
        self._again(lambda: self._inner.put(what, content))

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        return self._continued(self._again(lambda: self._inner.get(what, start)), what, start)

    def resolve(self, ref: str) -> Descriptor | None:
        return self._again(lambda: self._inner.resolve(ref))

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        self._again(lambda: self._inner.commit(ref, what, instead_of=instead_of))

    def close(self) -> None:
        self._inner.close()

    def _continued(self, stream: Stream, what: Descriptor, start: int) -> Stream:
        there = before = start
        failures = 0
        while True:
            try:
                with contextlib.closing(stream):
                    for piece in stream:
                        there += len(piece)
                        yield piece
                return
            except Unreachable as error:
                failures = 1 if there - before >= PROGRESS else failures + 1
                before = there
                if not error.transient or failures >= self._attempts:
                    raise
                self._wait(failures)
            stream = self._again(partial(self._inner.get, what, there))

    def _again(self, ask: Callable[[], Value]) -> Value:
        for attempt in range(1, self._attempts):
            try:
                return ask()
            except Unreachable as error:
                if not error.transient:
                    raise
                self._wait(attempt)
        return ask()

    def _wait(self, failures: int) -> None:
        chance = 1 - random.random() / 2  # noqa: S311  # so that many do not come back at once
        self._sleep(self._pause * 2 ** (failures - 1) * chance)
