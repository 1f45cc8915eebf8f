"""Fail single system calls of a build: a write, fsync or rename of each kind of file, by strace.

An undisturbed build is traced first, from each of some states of the cache. strace counts the calls of each
thread apart, so to fail the n-th `rename` is to fail that of the thread that first gets so far: the trace
says which file it is about. Of those for one kind of file, the first is failed with ENOSPC and the last with
EIO.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.thinning import thinned

from .conftest import Judge
from .place import Done, Place

pytestmark = pytest.mark.slow

At = Callable[..., Place]

KINDS = {
    "output": r"^[12]<",
    "request or answer": r"^\d+<(pipe|UNIX)",
    "cache": r"/cache(/sprue-cache-\d+)?\"",
    "blob": r"/sprue-cache-\d+/blobs/",
    "entry": r"/sprue-cache-\d+/actions/|/work/build-\w*/\d+/\.tmp-",
    "hint": r"/sprue-cache-\d+/last>",
    "settled": r"/sprue-cache-\d+/settled/",
    "report": r"/sprue-cache-\d+/reports/",
    "work folder": r"/work/build-\w+(/\d+(/out)?)?\"",
    "input": r"/inputs/",
    "product": r"/out/",
    "manifest": r"/manifest\.json>|/SHA256SUMS>",
    "store": r"/store/tiny(/1\.2\.3-[0-9a-f]{12})?[>\"]",
    "latest": r"/store/tiny/(\.tmp-\w*|1\.2\.3\.json)[>\"]",
    "bundle": r"/store/\.staging-",
}
MUST = {
    ("none", "mkdir"): {"cache", "work folder", "blob", "entry"},
    ("empty", "write"): {"entry", "input", "product", "request or answer", "output"},
    ("empty", "rename"): {"blob", "entry"},
    ("unmeasured", "write"): {"hint"},
    ("unmeasured", "rename"): {"blob", "entry"},
    ("whole", "write"): {"bundle", "manifest", "latest", "settled", "output"},
    ("whole", "fsync"): {"bundle", "manifest", "store", "latest"},
    ("whole", "rename"): {"store", "latest", "settled"},
}
"""The kinds of files that must be found, and failed, in a build from each state of the cache."""

TRIES = 4
"""Numbers of calls of a kind that are tried before one of another kind is failed."""

LINE = re.compile(r"(\d+) +([a-z]+)\((.*)")


@pytest.mark.parametrize(("state", "call"), [pytest.param(*p, marks=pytest.mark.slow) for p in MUST])
def test_a_failed_call_ends_in_the_right_bytes_or_a_clear_failure(
    at: At, judge: Judge, state: str, call: str
) -> None:
    sites = numbers(traced(at("undisturbed", cache=state), call)[0], call)
    assert sites.keys() >= MUST[state, call]
    for turn, kind in enumerate(sorted(MUST[state, call])):
        errors = [("ENOSPC", sites[kind]), ("EIO", sites[kind][::-1])]
        for error, order in thinned(errors[turn % 2 :] + errors[: turn % 2], 2):
            assert failed(at, judge, state, call, kind, error, order), f"it never happened: {call}, {kind}"
    assert not judge.faults, "\n\n".join(judge.faults)


def failed(
    at: At, judge: Judge, state: str, call: str, kind: str, error: str, numbers: Sequence[int]
) -> bool:
    """Fail the first of these calls that a build comes to. Which thread makes how many of them differs from
    one run to the next, so a number that the traced build had may not come again: then one before it does.
    """
    for number in (*numbers[:TRIES], *range(min(numbers) - 1, 0, -1)):
        what = f"{call} {number} from a cache that is {state}, of a file of kind {kind}: {error}"
        place = at(f"{kind}-{error}-{number}", cache=state)
        lines, done = traced(place, call, f"inject={call}:error={error}:when={number}")
        injected = [line for line in lines if "(INJECTED)" in line]
        if injected:
            judge.disturbed(place, done, what=f"{what}\n{injected}", times=len(injected))
            return True
    return False


def test_a_bundle_that_cannot_be_synced_is_not_in_the_store(at: At, judge: Judge) -> None:
    place = at("place", cache="whole")
    lines, done = traced(place, "fsync", "inject=fsync:error=EIO:when=1")
    assert done.returncode == 2
    assert "Input/output error" in done.stderr
    assert str(place.store) in done.stderr
    assert place.bundles() == {}
    judge.disturbed(place, done, what="fsync", times=sum("(INJECTED)" in line for line in lines))
    assert not judge.faults


def traced(place: Place, call: str, *inject: str) -> tuple[list[str], Done]:
    """What strace reports of a build, a line for each call; and how the build ended."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    report = place.project / "trace"
    options = [o for e in (f"trace={call}", *inject) for o in ("-e", e)]
    command = ["strace", "-f", "-y", "-s", "0", "-o", str(report), *options]
    done = place.build(*command, PYTHONDONTWRITEBYTECODE="1")
    if not report.exists() or not report.stat().st_size:
        pytest.skip(f"strace does not work here: {done.stderr.strip()}")
    return report.read_text().splitlines(), done


def numbers(lines: list[str], call: str) -> dict[str, list[int]]:
    """For each kind of file the n for which the n-th call of a thread is first about one of that kind.

    Where another thread was always before, those for which the n-th call of some thread is.
    """
    seen: Counter[str] = Counter()
    found: dict[str, list[int]] = {}
    behind: dict[str, list[int]] = {}
    known = 0
    for match in filter(None, map(LINE.match, lines)):
        thread, name, arguments = match.groups()
        assert name == call
        seen[thread] += 1
        if seen[thread] > known:
            known = seen[thread]
            found.setdefault(kind_of(arguments), []).append(known)
        else:
            behind.setdefault(kind_of(arguments), []).append(seen[thread])
    return behind | found


def kind_of(arguments: str) -> str:
    """The last file that a call names decides: a rename is about where it goes."""
    last = arguments.rpartition(', "')[2] if arguments.startswith('"') else arguments
    return next((k for k, pattern in KINDS.items() if re.search(pattern, last)), f"unknown: {last}")
