"""Every file of a cache cut short and with a bit flipped, one at a time; then a build of it.

tests/peer_failures does so with a real backend and the files that matter most, tests/engine with single
entries at every byte. Here no file is left out: hints and settled answers too.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.engine.cache import FORMAT
from tests.thinning import thinned

from .conftest import Judge
from .place import HERE, Done, Place

pytestmark = pytest.mark.slow

At = Callable[..., Place]
Change = Callable[[bytes], bytes]

CHANGES: dict[str, Change] = {
    "emptied": lambda data: b"",
    "cut in the middle": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "flipped at its beginning": lambda data: flipped(data, 0),
    "flipped in the middle": lambda data: flipped(data, len(data) // 2),
    "flipped at its end": lambda data: flipped(data, len(data) - 1),
}


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :] if data else b"\x04"


def settled(place: Place) -> list[str]:
    """Build, so that the answer is remembered; the files of the cache."""
    done = place.build()
    assert done.returncode == 0, done.stderr
    folder = place.cache / FORMAT
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def damaged(place: Place, judge: Judge, name: str, change: str) -> None:
    """Without its bundle, so that a remembered answer does not hide the rest of the cache."""
    path = place.cache / FORMAT / name
    whole = path.read_bytes()
    shutil.rmtree(place.store, ignore_errors=True)
    path.chmod(0o644)
    path.write_bytes(CHANGES[change](whole))
    done = place.build()
    assert done.returncode == 0, done.stderr
    judge.disturbed(place, done, what=f"{name} {change}", heal=False)


@pytest.mark.slow
def test_a_cut_blob_and_a_flipped_entry_are_made_again(at: At, judge: Judge) -> None:
    place = at("place", cache="whole")
    names = settled(place)
    for part, change in (("blobs", "cut in the middle"), ("actions", "flipped in the middle")):
        damaged(place, judge, next(n for n in names if n.startswith(part)), change)
    assert not judge.faults, "\n\n".join(judge.faults)


@pytest.mark.slow
def test_a_blob_that_is_damaged_after_the_build_has_looked_at_it_is_not_frozen(at: At, judge: Judge) -> None:
    """The build is stopped as it begins to freeze, and goes on when the artifact is damaged."""
    place = at("place", cache="whole")
    begun = place.project / "begun"
    run = place.start(
        FAULT="build open /model/model.onnx 1 build SIGSTOP",
        FAULT_DONE=str(begun),
        PYTHONPATH=str(HERE / "inject"),
    )
    while not begun.exists():
        assert run.poll() is None
        time.sleep(0.01)
    (sha,) = {sha for name, sha in judge.expected.items() if name.endswith("/artifact/model.onnx")}
    path = place.cache / FORMAT / "blobs" / sha[:2] / sha
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    stopped(run.pid)
    run.send_signal(signal.SIGCONT)
    out, err = run.communicate(timeout=240)
    assert run.returncode == 2
    assert "is damaged\n  run the build again: it will be made anew" in err
    judge.disturbed(place, Done(run.args, run.returncode, out, err), what="damaged meanwhile")
    assert not judge.faults, "\n\n".join(judge.faults)


@pytest.mark.slow
@pytest.mark.parametrize("turn", thinned(range(2), 2))
def test_any_one_damaged_file_of_a_cache_is_made_again_or_refused(at: At, judge: Judge, turn: int) -> None:
    """Each file in one of two ways, which take turns."""
    place = at("place", cache="whole")
    names = settled(place)
    assert {n.partition("/")[0] for n in names} >= {"blobs", "actions", "last", "settled"}
    for name, change in taking_turns([n for n in names if (place.cache / FORMAT / n).stat().st_size], turn):
        damaged(place, judge, name, change)
    assert not judge.faults, "\n\n".join(judge.faults)


@pytest.mark.slow
@pytest.mark.parametrize("turn", thinned(range(2), 2))
def test_a_damaged_answer_or_bundle_is_not_given(at: At, judge: Judge, turn: int) -> None:
    """With the bundle there: a file of it, or the record that says that it still holds, is damaged."""
    place = at("place", cache="whole")
    names = [str(place.cache / FORMAT / n) for n in settled(place) if n.startswith("settled")]
    names += [str(p) for p in sorted(place.store.rglob("*")) if p.is_file()]
    for name, change in taking_turns(names, turn):
        path = Path(name)
        path.chmod(0o644)
        path.write_bytes(CHANGES[change](path.read_bytes()))
        judge.disturbed(place, place.build(), what=f"{path.name} {change}", heal=False)
    assert not judge.faults, "\n\n".join(judge.faults)


def taking_turns(names: list[str], turn: int) -> list[tuple[str, str]]:
    """Every name with one of the changes, with another one in another turn."""
    changes = list(CHANGES)
    return [(name, changes[(i + turn * 3) % len(changes)]) for i, name in enumerate(names)]


def stopped(process: int) -> None:
    """Wait until a process is stopped: to let it go on before would be in vain."""
    while (Path("/proc") / str(process) / "stat").read_text().rpartition(") ")[2][0] != "T":
        time.sleep(0.01)
