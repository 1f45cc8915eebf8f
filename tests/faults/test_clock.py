"""Clocks that are wrong, jump, or were set back: the right bytes all the same, and nothing stale."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sprue import settled
from sprue.canonical import digest
from sprue.engine.cache import FORMAT

from .conftest import Judge
from .place import RECIPE, Done, Place

pytestmark = pytest.mark.slow

At = Callable[..., Place]

HOUR = 3600
YEAR = 365 * 24 * HOUR
EVALUATION = "models/tiny/evaluation.npz"
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")


def fake(offset: Path) -> dict[str, str]:
    """For a process whose clock is off by what the file `offset` says, such as +60. Files' times are real."""
    found = [p for f in LIBRARIES for p in sorted(Path(f).glob("**/faketime/libfaketime.so.1"))]
    if not found:
        pytest.skip("libfaketime is not installed")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def shift(folder: Path, seconds: int) -> None:
    """Set the times of change of all files, as far as anyone can: the status change stays true."""
    for path in [folder, *folder.rglob("*")]:
        then = path.stat().st_mtime + seconds
        os.utime(path, (then, then))


def edit(place: Place) -> None:
    """Other samples, with the file's old size and time of change."""
    path = place.project / EVALUATION
    before = path.stat()
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, allow_pickle=False, **{**arrays, "x": arrays["x"] * np.float32(2)})
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("ahead", [HOUR, 0, -HOUR])
def test_a_record_of_another_time_vouches_for_no_file_that_was_edited_after_it_was_read(
    tmp_path: Path, judge: Judge, ahead: int
) -> None:
    """A clock that was ahead and set back: the file changed after the record's time, which is to come."""
    path = tmp_path / "samples"
    path.write_text("new")
    asked = settled.question(tmp_path / "recipe.toml", targets=[])
    since = time.time_ns() + ahead * 10**9
    settled.remember(tmp_path, asked, {}, {"ok": True}, {path: digest(b"old")}, since=since)
    stale = settled.recall(tmp_path, asked) is not None
    judge.said("a stale answer" if stale else "", what=f"{ahead} s")
    assert not stale


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [10 * YEAR, -HOUR])
def test_files_from_another_time_make_the_same_and_an_edit_is_seen(
    at: At, judge: Judge, seconds: int
) -> None:
    place = at("place", cache="whole")
    for folder in (place.project, place.cache):
        shift(folder, seconds)
    judge.disturbed(place, place.build(), what=f"files shifted by {seconds} s")
    for folder in (place.project, place.cache, place.store):
        shift(folder, seconds)
    judge.disturbed(place, place.build(), what=f"files shifted twice by {seconds} s")
    edited(place, judge, f"edited, shifted by {seconds} s")
    assert not judge.faults, "\n\n".join(judge.faults)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [HOUR, -40 * YEAR])
def test_a_build_by_a_wrong_clock_makes_the_same_and_the_next_one_sees_an_edit(
    at: At, judge: Judge, seconds: int, tmp_path: Path
) -> None:
    """Set right, or back, between the builds."""
    place = at("place")
    offset = tmp_path / "offset"
    offset.write_text(f"{seconds:+d}\n")
    judge.disturbed(place, place.build(**fake(offset)), what=f"a clock off by {seconds} s", heal=False)
    judge.disturbed(place, place.build(), what=f"a clock that was off by {seconds} s")
    judge.disturbed(place, place.build(**fake(offset)), what=f"a clock off again by {seconds} s")
    edited(place, judge, f"edited, with a clock that was off by {seconds} s")
    assert not judge.faults, "\n\n".join(judge.faults)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [HOUR, 3])
def test_an_edit_while_a_build_runs_is_seen_though_the_clock_is_set_back_meanwhile(
    at: At, judge: Judge, seconds: int, tmp_path: Path
) -> None:
    """The build has read the recipe; its own time says that the edit was before that."""
    place = at("place")
    offset = tmp_path / "offset"
    offset.write_text(f"{seconds:+d}\n")
    run = place.start(**fake(offset))
    while not list((place.cache / FORMAT / "builds").glob("build-*")):
        assert run.poll() is None
        time.sleep(0.005)
    recipe = place.project / RECIPE
    recipe.write_text(recipe.read_text().replace("1.2.3", "1.2.4"))
    other = Path(f"{offset}.new")
    other.write_text("+0\n")
    other.replace(offset)
    assert run.poll() is None
    out, err = run.communicate(timeout=240)
    judge.disturbed(place, Done(run.args, run.returncode, out, err), what="set back", heal=False)
    time.sleep(2 * settled.GRAIN / 1e9)
    after = place.build()
    fault = "" if '"version": "1.2.4"' in after.stdout else f"a stale answer: {after.stdout}"
    judge.said(fault, what=f"set back by {seconds} s")
    assert not judge.faults, "\n\n".join(judge.faults)


def edited(place: Place, judge: Judge, what: str) -> None:
    """Edit the samples; the next build must freeze them."""
    time.sleep(settled.GRAIN / 1e9)
    edit(place)
    done = place.build()
    assert done.returncode == 0, done.stdout + done.stderr
    frozen = [digest(p.read_bytes()) for p in place.store.glob("tiny/*/data/evaluation.npz")]
    now = digest((place.project / EVALUATION).read_bytes())
    judge.said("" if now in frozen else "the edit was not seen", what=what)
