"""kill -9 of the build, and of its worker, at every stage; the next build ends as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sprue.engine.cache import FORMAT
from tests.thinning import thinned

from .conftest import Judge
from .place import HERE, KILLED, Done, Place

pytestmark = pytest.mark.slow

At = Callable[..., Place]

IN_A_WORKER = {
    "lay out inputs": "open inputs/model/ 1",
    "source": "open out/model.onnx 1",
    "reference": "open out/metric.json 1",
    "calibration": "open out/samples.npz 2",
    "check": "open out/findings.json 1",
    "pass": "open out/model.onnx 2",
    "compile": "open out/model.onnx 3",
    "verify": "open out/verdict.json 1",
    "measure": "open out/measurement.json 1",
    "parity": "open out/parity.json 1",
    "first blob": "os.rename /blobs/ 1",
    "a later blob": "os.rename /blobs/ 5",
    "first entry": "os.rename /actions/ 1",
    "last entry": "os.rename /actions/ 9",
}
"""When a worker is in the midst of a step: it opens or renames, for the n-th time, a file of the step's."""

IN_THE_BUILD = {
    "begin the cache": f"os.mkdir cache/{FORMAT} 1",
    "hand on a work folder": "os.rename work/build- 2",
    "hint": f"open {FORMAT}/last 3",
    "freeze: model": "open /model/model.onnx 1",
    "freeze: artifact": "open /artifact/model.onnx 1",
    "freeze: evidence": "open evidence/variants.json 1",
    "freeze: manifest": "open /manifest.json 1",
    "freeze: sums": "open /SHA256SUMS 1",
    "freeze: bundle": "os.rename store/tiny/1.2.3- 1",
    "freeze: latest": "os.rename tiny/1.2.3.json 1",
    "settle: open": "open /settled/ 1",
    "settle: rename": "os.rename /settled/ 1",
}
"""When the build itself is somewhere: it is about to open or to rename a file."""


def killed(place: Place, fault: str, code: int | None = None) -> Done:
    """A build in which `fault` happened, see inject/sitecustomize.py; it ended with `code`."""
    happened = place.project / "happened"
    done = place.build(FAULT=f"{fault} SIGKILL", FAULT_DONE=str(happened), PYTHONPATH=str(HERE / "inject"))
    assert happened.exists(), f"it never happened: {fault}\n{done.stderr}"
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


def stages(names: dict[str, str]) -> list[str]:
    return thinned(list(names), 3)


@pytest.mark.parametrize("stage", stages(IN_A_WORKER))
def test_a_killed_worker_fails_what_it_did_and_the_next_build_does_it(
    at: At, judge: Judge, stage: str
) -> None:
    place = at("place")
    done = killed(place, f"worker {IN_A_WORKER[stage]} worker")
    assert done.returncode in (1, 2), "a worker that is killed fails its step"
    assert "SIGKILL" in done.stdout + done.stderr
    judge.disturbed(place, done, what=stage)
    assert not judge.faults


@pytest.mark.parametrize("stage", stages({k: v for k, v in IN_A_WORKER.items() if k != "compile"}))
def test_a_build_killed_at_a_step_goes_on_the_next_time(at: At, judge: Judge, stage: str) -> None:
    place = at("place")
    killed(place, f"worker {IN_A_WORKER[stage]} build", code=KILLED)
    judge.resumed(place, what=stage)
    assert not judge.faults


@pytest.mark.parametrize("stage", stages(IN_THE_BUILD))
def test_a_build_killed_between_steps_goes_on_the_next_time(at: At, judge: Judge, stage: str) -> None:
    place = at("place", cache="whole" if stage.startswith(("freeze", "settle")) else "none")
    killed(place, f"build {IN_THE_BUILD[stage]} build", code=KILLED)
    judge.resumed(place, what=stage)
    assert not judge.faults
