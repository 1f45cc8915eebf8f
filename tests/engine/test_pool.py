"""What a pool's workers have imported before their first action."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sprue.engine.job import Request
from sprue.engine.pool import Pool


@pytest.fixture(autouse=True)
def _actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)


def loaded(pool: Pool, folder: Path) -> list[str]:
    """Which of two modules a worker had imported when it was asked."""
    (folder / "out").mkdir(parents=True)
    params = {"modules": ["fractions", "statistics"]}
    log = str(folder / "log")
    request = Request("sample_actions:loaded", {}, params, str(folder / "out"), log)
    pool.call(request, 60.0)
    return (folder / "out" / "loaded").read_text().split()


def test_workers_import_what_they_are_told_to(tmp_path: Path) -> None:
    with Pool(1, 1, preload=["fractions"]) as pool:
        assert loaded(pool, tmp_path / "told") == ["fractions"]
    with Pool(1, 1) as pool:
        assert loaded(pool, tmp_path / "not") == []


def test_a_module_that_cannot_be_imported_fails_no_worker(tmp_path: Path) -> None:
    with Pool(1, 1, preload=["no_such_module", "statistics"]) as pool:
        assert "statistics" in loaded(pool, tmp_path / "one")


def test_the_first_worker_starts_before_it_is_needed_and_goes_when_it_never_was() -> None:
    before = children()
    with Pool(1, 1, preload=["fractions"]):
        assert len(children() - before) == 1
    assert children() == before


def children() -> set[str]:
    """The process ids of what this process has started and not yet waited for."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
