"""A built project to compare with, and a count of what was done to builds and of what went wrong."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .place import RECIPE, STEPS, Done, Place, fresh, spoilt, unhealed, wrong

TRIED = pytest.StashKey[Counter[str]]()
WRONG = pytest.StashKey[Counter[str]]()

Expected = dict[str, str]


class Judge:
    """Counts injections of one kind and those after which something was wrong."""

    def __init__(self, kind: str, config: pytest.Config, expected: Expected) -> None:
        self.expected = expected
        self.faults: list[str] = []
        self._kind = kind
        self._config = config

    def disturbed(self, place: Place, done: Done, *, what: str, times: int = 1, heal: bool = True) -> None:
        """A build that was disturbed `times` times. `heal`: the next one must end as if nothing had been."""
        self.said(
            wrong(place, done, self.expected) or (unhealed(place, self.expected) if heal else ""),
            what=what,
            times=times,
        )

    def resumed(self, place: Place, *, what: str) -> None:
        """A build that was killed, and can say nothing: the next one must end as if nothing had been."""
        self.said(spoilt(place, self.expected) or unhealed(place, self.expected), what=what)

    def said(self, fault: str, *, what: str, times: int = 1) -> None:
        self._config.stash[TRIED][self._kind] += times
        if fault:
            self._config.stash[WRONG][self._kind] += 1
            self.faults.append(f"{what}: {fault}")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TRIED], config.stash[WRONG] = Counter(), Counter()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tried, bad = config.stash[TRIED], config.stash[WRONG]
    if tried:
        terminalreporter.section("faults injected")
        for kind, count in sorted(tried.items()):
            terminalreporter.write_line(f"{kind:40}{count:6} tried, {bad[kind]} went wrong")
        terminalreporter.write_line(f"{'total':40}{tried.total():6} tried, {bad.total()} went wrong")


@pytest.fixture(scope="session")
def origin(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A project that was built with nothing in the way. Nobody changes it."""
    folder = tmp_path_factory.mktemp("origin")
    shutil.copytree(template, folder / "project")
    (folder / "project" / RECIPE).write_text(STEPS)
    place = Place(folder / "project", folder / "cache", folder / "store")
    done = place.build()
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="session")
def expected(origin: Place) -> Expected:
    return origin.bundles()


@pytest.fixture
def at(origin: Place, tmp_path: Path) -> Callable[..., Place]:
    """at(name, cache=...): a new place below the test's folder, see `fresh`."""
    return lambda name, cache="none": fresh(origin, tmp_path / name, cache=cache)


@pytest.fixture
def judge(request: pytest.FixtureRequest, expected: Expected) -> Judge:
    """Of the file's kind of fault. A test asserts at its end that `judge.faults` is empty."""
    return Judge(request.path.stem.removeprefix("test_").replace("_", " "), request.config, expected)
