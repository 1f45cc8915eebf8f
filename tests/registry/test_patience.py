"""Asking again, going on, and giving up."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.registry.patience import PROGRESS, Retrying, Timed, within
from sprue.registry.protocol import Absent, Content, Descriptor, Stream, Unreachable, describe

from .memory import Memory

DATA = bytes(range(256)) * 100
WHAT = describe("application/octet-stream", DATA)


class Failing(Memory):
    """Fails the first `times` times; streams break off after `cut` bytes."""

    def __init__(self, times: int = 0, cut: int = 0, *, transient: bool = True) -> None:
        super().__init__()
        self.times, self.cut, self.transient = times, cut, transient
        self.blobs[WHAT.sha256] = DATA

    def _fail(self) -> None:
        if self.times:
            self.times -= 1
            raise Unreachable("down", transient=self.transient)

    def has(self, what: Descriptor) -> bool:
        self._fail()
        return super().has(what)

    def put(self, what: Descriptor, content: Content) -> None:
        self._fail()
        super().put(what, content)

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        return self._broken(b"".join(super().get(what, start)))

    def _broken(self, data: bytes) -> Stream:
        if self.cut and len(data) > self.cut:
            yield data[: self.cut]
            raise Unreachable("broke off", transient=True)
        yield data


def never(_: float) -> None:
    raise AssertionError("waited")


def test_what_may_pass_is_asked_again_after_longer_and_longer_pauses() -> None:
    pauses: list[float] = []
    assert Retrying(Failing(4), attempts=5, pause=1, sleep=pauses.append).has(WHAT)
    assert [0.5 <= pause / 2**i <= 1 for i, pause in enumerate(pauses)] == [True] * 4


def test_what_does_not_pass_is_given_up_after_its_attempts() -> None:
    pauses: list[float] = []
    with pytest.raises(Unreachable, match="down"):
        Retrying(Failing(5), attempts=5, sleep=pauses.append).has(WHAT)
    assert len(pauses) == 4


def test_what_is_refused_for_good_is_not_asked_again() -> None:
    inner = Failing(1, transient=False)
    with pytest.raises(Unreachable):
        Retrying(inner, sleep=never).put(WHAT, DATA)
    with pytest.raises(Absent):
        Retrying(inner, sleep=never).get(describe("x", b"never"))


@given(cut=st.integers(len(DATA) // 4, len(DATA)), start=st.integers(0, len(DATA)))
def test_a_stream_that_breaks_off_goes_on_where_it_broke(cut: int, start: int) -> None:
    registry = Retrying(Failing(cut=cut), sleep=lambda _: None)
    assert b"".join(registry.get(WHAT, start)) == DATA[start:]


def test_a_stream_that_gives_a_byte_each_time_is_given_up() -> None:
    registry = Failing(cut=1)
    with pytest.raises(Unreachable, match="broke off"):
        list(Retrying(registry, attempts=5, sleep=lambda _: None).get(WHAT))
    assert sum(verb == "get" for verb, _ in registry.asked) == 5


def test_attempts_count_anew_after_progress() -> None:
    data = bytes(8 * PROGRESS)
    registry = Failing(cut=PROGRESS)
    registry.blobs[describe("", data).sha256] = data
    assert b"".join(Retrying(registry, attempts=2, sleep=lambda _: None).get(describe("", data))) == data


def test_nothing_takes_longer_than_it_may() -> None:
    ended = threading.Event()

    class Hanging(Memory):
        def has(self, what: Descriptor) -> bool:
            return ended.wait(60)

    try:
        with pytest.raises(Unreachable, match="no answer within"):
            Timed(Hanging(), grace=0.05).has(WHAT)
    finally:
        ended.set()


def test_a_stream_that_is_too_late_is_closed() -> None:
    opened, closed = threading.Event(), threading.Event()

    class Late(Memory):
        def get(self, what: Descriptor, start: int = 0) -> Stream:
            opened.wait(60)
            stream = self._stream()
            next(stream)
            return stream

        def _stream(self) -> Stream:
            try:
                yield b""
                yield b"late"
            finally:
                closed.set()

    with pytest.raises(Unreachable):
        Timed(Late(), grace=0.05).get(WHAT)
    opened.set()
    assert closed.wait(10)


def test_only_waiting_for_the_registry_counts_as_its_slowness() -> None:
    class Steady(Memory):
        def get(self, what: Descriptor, start: int = 0) -> Stream:
            yield from (b"x" for _ in range(5))

    with closing(Timed(Steady(), grace=0.1, slowest=1 << 30).get(WHAT)) as stream:
        for _ in stream:
            time.sleep(0.05)  # a slow disk of ours


def test_what_a_task_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        within(5, lambda _: 1 / 0)
