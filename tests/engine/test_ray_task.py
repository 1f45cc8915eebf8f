"""What a node does for a build, without Ray: the same code, called here."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sprue.engine import ray_task
from sprue.engine.job import ActionFailed
from sprue.engine.ray_task import Answer, Task, Tree, differences, perform, read_tree, write_files


@pytest.fixture(autouse=True)
def _actions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The actions can be imported, and a node's temporary folder is the test's."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for cached in (ray_task._pool, ray_task._facts, ray_task._sweep_once):
        cached.cache_clear()


def facts() -> dict[str, str]:
    return {"python": sys.version}


def ask(
    function: str, expected: dict[str, str], inputs: dict[str, Tree] | None = None, **params: Any
) -> Answer:
    """Perform an action, and end its worker."""
    trees = inputs or {}
    task = Task(f"ray_actions:{function}", tuple(trees), params, 20.0, 1, facts, expected)
    try:
        return perform(task, *trees.values())
    finally:
        ray_task._pool(1).close()


def test_files_and_folders_travel_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.bin").write_bytes(bytes(range(256)))
    (folder / "empty").touch()
    (tmp_path / "file.txt").write_text("text")
    copied = read_tree(folder).lay_out(tmp_path / "there")
    assert copied == tmp_path / "there" / "folder"
    assert read_tree(copied) == read_tree(folder)
    single = read_tree(tmp_path / "file.txt").lay_out(tmp_path / "single")
    assert (single.name, single.read_text()) == ("file.txt", "text")


def test_an_empty_folder_arrives_as_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    copied = read_tree(tmp_path / "folder").lay_out(tmp_path / "there")
    assert copied.is_dir()
    assert list(copied.iterdir()) == []


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "", "."])
def test_no_file_is_written_outside_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ActionFailed, match="leaves its folder"):
        write_files({name: b"x"}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_action_is_performed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    source = Tree("source", {"a.txt": b"a", "b/c.txt": b"c"})
    answer = ask("mix", facts(), {"one": source}, blocks=2)
    assert answer.failure is None
    assert sorted(answer.files) == ["bytes.bin", "deep/er/digests.txt"]
    assert (
        b"one source b/c.txt 2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"
        in (answer.files["deep/er/digests.txt"])
    )
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_failure_comes_with_the_end_of_what_was_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_task, "LOG_TAIL", 11)
    answer = ask("abort", facts())
    assert answer.failure is not None
    assert answer.failure.what == "its process was ended by SIGABRT"
    assert answer.log == b"last words\n"
    assert answer.files == {}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_more_than_may_travel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_task, "LARGEST", 100)
    answer = ask("mix", facts(), blocks=4)
    assert answer.failure is not None
    assert answer.failure.what == "128 bytes are too many to travel between machines: at most 100"


def test_a_node_that_differs_performs_nothing(tmp_path: Path) -> None:
    answer = ask("mix", {"python": "2.7"}, blocks=1)
    assert answer.failure is not None
    assert f"python: {sys.version} instead of 2.7" in answer.failure.what
    assert list((tmp_path / "tmp").iterdir()) == []


def test_every_difference_between_two_machines_is_named() -> None:
    found = differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"})
    assert found == ["b: 9 instead of 2", "c: (none) instead of 3", "d: 4 instead of (none)"]
