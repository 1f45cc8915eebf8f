"""A real file system that is full, in blocks or in files, at every stage of filling it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.thinning import thinned

from .conftest import Judge
from .place import Done, Place

pytestmark = pytest.mark.slow

At = Callable[..., Place]

PAGE = os.sysconf("SC_PAGE_SIZE")
PAGES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 30)
FILES = (2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)
ENOUGH = "size=64m,nr_inodes=10000"


@contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs at `folder`. What is in it at the end is gone."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs Linux and root")
    folder.mkdir(exist_ok=True)
    made = mount("-t", "tmpfs", "-o", options, "none", str(folder))
    if made.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> Done:
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)


def until_it_fits(at: At, judge: Judge, folder: str, cache: str, limits: list[str]) -> None:
    """Builds with `folder` on ever larger disks. The first must be too small, and the last large enough."""
    codes = []
    for limit in (limits[0], *thinned(limits[1:-1], 3), limits[-1]):
        place = at(limit, cache=cache)
        full: Path = getattr(place, folder)
        with disk(full, limit):
            done = place.build()
            codes.append(done.returncode)
            if done.returncode != 0:
                assert "No space left on device" in done.stdout + done.stderr
                assert "free some space" in done.stdout + done.stderr
            mount("-o", f"remount,{ENOUGH}", str(full)).check_returncode()
            judge.disturbed(place, done, what=f"{folder}: {limit}")
    assert codes[0] in (1, 2)
    assert codes[-1] == 0
    assert not judge.faults, "\n\n".join(judge.faults)


def test_a_store_without_room_gets_no_bundle_until_it_has_room(at: At, judge: Judge) -> None:
    until_it_fits(at, judge, "store", "whole", [f"size={PAGE * n}" for n in (4, 64)])


@pytest.mark.slow
def test_a_store_that_is_full_at_any_file_gets_a_whole_bundle_or_none(at: At, judge: Judge) -> None:
    until_it_fits(at, judge, "store", "whole", [f"size={PAGE * n}" for n in PAGES])


@pytest.mark.slow
def test_a_store_that_may_hold_no_more_files_gets_a_whole_bundle_or_none(at: At, judge: Judge) -> None:
    until_it_fits(at, judge, "store", "whole", [f"size=64m,nr_inodes={n}" for n in FILES])


@pytest.mark.slow
def test_a_cache_that_is_full_fails_the_step_and_is_never_torn(at: At, judge: Judge) -> None:
    until_it_fits(at, judge, "cache", "none", [f"size={PAGE * n}" for n in (*PAGES[::2], 40, 80)])


@pytest.mark.slow
def test_a_cache_that_may_hold_no_more_files_fails_the_step_and_is_never_torn(at: At, judge: Judge) -> None:
    until_it_fits(at, judge, "cache", "none", [f"size=64m,nr_inodes={n}" for n in (*FILES[::2], 80, 120)])
