"""A cache and a pool whose workers can import `sample_actions`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.pool import Pool
from sprue.engine.run import Outcome, run

Make = Callable[..., Action]
Run = Callable[..., dict[str, Outcome]]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One for a file's tests: what an action does to its worker must not show in the next test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        with Pool(2, 1) as opened:
            yield opened


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def build(cache: Cache, pool: Pool) -> Run:
    """Run actions in a cache of the test's own."""

    def build(*actions: Action, **options: Any) -> dict[str, Outcome]:
        return run(actions, cache, pool, **options)

    return build


@pytest.fixture
def make() -> Make:
    """make(name, function, inputs..., field=value): an action of `sample_actions`."""

    def make(
        name: str,
        function: str = "join",
        inputs: dict[str, Path | Output] | None = None,
        params: dict[str, Any] | None = None,
        tools: dict[str, str] | None = None,
        version: int = 1,
        alone: bool = False,
        timeout: float = 60.0,
    ) -> Action:
        given = {"text": name} | (params or {})
        place = f"sample_actions:{function}"
        return Action(name, place, version, given, inputs or {}, tools or {}, alone, timeout)

    return make


@pytest.fixture
def read(cache: Cache) -> Callable[[Outcome, str], str]:
    """A file that an action made, by its outcome."""

    def read(outcome: Outcome, name: str) -> str:
        assert outcome.entry is not None, outcome.failure
        return cache.read(outcome.entry.files[name]).decode()

    return read
