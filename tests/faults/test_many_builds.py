"""Sixteen builds of the same recipes at once, in one cache and one store."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.thinning import thinned

from .conftest import Judge
from .place import RECIPE, Done, Place, spoilt, unhealed, wrong

pytestmark = pytest.mark.slow

At = Callable[..., Place]

BUILDS = 16


def together(place: Place, judge: Judge) -> None:
    """Builds started as nearly at once as can be. All must succeed, with the same bundle."""
    started = [place.start() for _ in range(BUILDS)]
    ended = [finished(run) for run in started]
    for done in ended:
        assert done.returncode == 0, done.stdout + done.stderr
        judge.said(wrong(place, done, judge.expected), what="one of many")
    assert len({json.loads(done.stdout)["bundle"]["id"] for done in ended}) == 1
    assert len({json.loads(done.stdout)["bundle"]["folder"] for done in ended}) == 1
    assert unhealed(place, judge.expected) == ""


@pytest.mark.slow
@pytest.mark.parametrize("cache", thinned(["none", "unmeasured", "whole"], 3))
def test_sixteen_builds_at_once_freeze_the_same_bundle(at: At, judge: Judge, cache: str) -> None:
    together(at("place", cache=cache), judge)
    assert not judge.faults, "\n\n".join(judge.faults)


@pytest.mark.slow
def test_sixteen_builds_of_two_recipes_at_once_freeze_the_same_bundles(at: At, judge: Judge) -> None:
    """The recipes share a model, and so all steps up to the target's."""
    place = at("place")
    text = (place.project / RECIPE).read_text()
    (place.project / "recipes" / "other.toml").write_text(text)
    started = [place.start(recipes=f"{RECIPE} recipes/other.toml") for _ in range(BUILDS)]
    ended = [finished(run) for run in started]
    assert {done.returncode for done in ended} == {0}, ended
    ids = {tuple(r["bundle"]["id"] for r in json.loads(done.stdout)["recipes"]) for done in ended}
    assert len(ids) == 1
    assert place.torn() == []
    ours = {n: sha for n, sha in place.bundles().items() if n.startswith("tiny/")}
    judge.said("" if ours == judge.expected else "another bundle", what="two recipes", times=BUILDS)
    assert not judge.faults


@pytest.mark.slow
def test_builds_that_are_killed_among_others_disturb_none(at: At, judge: Judge) -> None:
    """Every second one is killed, each at another moment."""
    place = at("place")
    started = [place.start() for _ in range(BUILDS)]
    for number, run in enumerate(started[::2]):
        time.sleep(0.05 * number)
        run.kill()
        run.communicate(timeout=60)
        judge.said(spoilt(place, judge.expected), what="one of many that is killed")
    for run in started[1::2]:
        done = finished(run)
        assert done.returncode == 0, done.stdout + done.stderr
        judge.said(wrong(place, done, judge.expected), what="one of many that lives")
    assert unhealed(place, judge.expected) == ""
    assert not judge.faults


def finished(run: subprocess.Popen[str]) -> Done:
    out, err = run.communicate(timeout=280)
    return Done(run.args, run.returncode, out, err)
