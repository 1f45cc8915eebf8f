"""A remembered answer holds while everything that it depends on does, and not one change longer."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from sprue import settled
from sprue.canonical import digest

OLD = time.time_ns() - 3600 * 10**9
ANSWER = {"ok": True, "actions": {"a": "done"}}


def file(path: Path, text: str = "one", *, at: int = OLD) -> Path:
    path.write_text(text)
    os.utime(path, ns=(at, at))
    return path


def remembered(folder: Path, *files: Path, since: int | None = None) -> dict[str, Any]:
    asked = settled.question(folder / "recipe.toml", targets=[])
    digests = {path: digest(path.read_bytes()) for path in files}
    # Long after the files' own change times, which nobody can set back.
    later = time.time_ns() + 10 * settled.GRAIN if since is None else since
    settled.remember(folder / "cache", asked, {"actions": 1}, ANSWER, digests, since=later)
    return asked


def holds(folder: Path, asked: dict[str, Any]) -> bool:
    return settled.recall(folder / "cache", asked) is not None


def test_an_answer_is_given_again_while_nothing_changes(tmp_path: Path) -> None:
    asked = remembered(tmp_path, file(tmp_path / "a"))
    found = settled.recall(tmp_path / "cache", asked)
    assert found is not None
    assert found.brief == {"actions": 1}
    assert found.answer() == ANSWER


def test_a_changed_file_ends_it(tmp_path: Path) -> None:
    asked = remembered(tmp_path, file(tmp_path / "a"))
    file(tmp_path / "a", "two")
    assert not holds(tmp_path, asked)


def test_a_missing_file_ends_it(tmp_path: Path) -> None:
    asked = remembered(tmp_path, file(tmp_path / "a"), file(tmp_path / "b"))
    (tmp_path / "b").unlink()
    assert not holds(tmp_path, asked)


def test_a_file_that_was_touched_or_replaced_by_the_same_bytes_does_not(tmp_path: Path) -> None:
    asked = remembered(tmp_path, file(tmp_path / "a"))
    file(tmp_path / "b", at=OLD + 5).replace(tmp_path / "a")
    assert holds(tmp_path, asked)


def test_a_file_as_young_as_the_record_is_hashed_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path / "a")
    asked = remembered(tmp_path, path, since=time.time_ns())
    hashed: list[Path] = []

    def look(path: Path) -> str:
        hashed.append(path)
        return "something else"

    monkeypatch.setattr(settled, "file_digest", look)
    assert not holds(tmp_path, asked)
    assert hashed == [path]


@pytest.mark.parametrize("name", ["SPRUE_TARGETS", "SOURCE_DATE_EPOCH"])
def test_another_environment_ends_it(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered(tmp_path, file(tmp_path / "a"))
    monkeypatch.setenv(name, "7")
    settled.environment.cache_clear()
    try:
        assert not holds(tmp_path, settled.question(tmp_path / "recipe.toml", targets=[]))
    finally:
        monkeypatch.undo()
        settled.environment.cache_clear()


def test_other_options_are_another_question(tmp_path: Path) -> None:
    remembered(tmp_path, file(tmp_path / "a"))
    assert not holds(tmp_path, settled.question(tmp_path / "recipe.toml", targets=["gpu"]))


def test_a_record_that_is_cut_or_changed_at_any_byte_is_no_answer(tmp_path: Path) -> None:
    asked = remembered(tmp_path, file(tmp_path / "a"))
    record = next((tmp_path / "cache" / "settled").rglob("*.json"))
    whole = record.read_bytes()
    record.chmod(0o644)
    for place in range(len(whole)):
        record.write_bytes(whole[:place])
        assert not holds(tmp_path, asked), f"cut at byte {place}"
        record.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not holds(tmp_path, asked), f"changed at byte {place}"
    record.write_bytes(whole)
    assert holds(tmp_path, asked)
