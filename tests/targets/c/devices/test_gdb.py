"""GDB's protocol against other sides that do not speak it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sprue.targets.c.devices.gdb import Gone, Late, Refused, Remote


@contextmanager
def other_side(program: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-S", "-c", f"import sys\nask = sys.stdin.buffer\n{program}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def remote(process: subprocess.Popen[bytes], seconds: float = 20) -> Remote:
    assert process.stdin is not None
    assert process.stdout is not None
    return Remote(process.stdin, process.stdout, seconds)


ANSWER = """
def answer(text):
    while ask.read(1) != b'#': pass
    ask.read(2)
    sys.stdout.write('+$' + text + '#00'); sys.stdout.flush()
answer('OK'); answer('')
"""


def test_memory_is_read_and_written_in_parts_and_errors_are_refusals() -> None:
    parts = "answer('ab' * 1024); answer('cd' * 6); answer('OK'); answer('E14'); answer('E14'); ask.read()"
    with other_side(ANSWER + parts) as process:
        far = remote(process)
        assert far.read(0x100, 1030) == b"\xab" * 1024 + b"\xcd" * 6
        far.write(0x100, b"abc")
        with pytest.raises(Refused):
            far.write(0, b"abc")
        with pytest.raises(Refused):
            far.read(0, 4)


@pytest.mark.parametrize("answer", ["zz", "abcd", ""])
def test_an_answer_that_makes_no_sense_is_an_error_that_says_so(answer: str) -> None:
    with other_side(f"{ANSWER}answer({answer!r}); answer({answer!r}); ask.read()") as process:
        far = remote(process)
        with pytest.raises(Gone, match="the emulator"):
            far.read(0, 4)
        with pytest.raises(Gone, match="instead of stopping"):
            far.go()


def test_a_side_that_ends_and_one_that_says_nothing_are_told_apart() -> None:
    with other_side("pass") as process, pytest.raises(Gone, match="the emulator ended"):
        remote(process)
    with other_side("ask.read()") as process, pytest.raises(Late, match=r"does not answer within 0\.2 s"):
        remote(process, 0.2)
