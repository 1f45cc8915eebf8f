"""Tags move, remember, and go back; whatever their files hold, they mean what the history says or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprue.bundle.tags import move_tag, previous, read_tag, read_tags, remove_tag, roll_back
from sprue.canonical import canonical
from sprue.errors import CheckError, SprueError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    return tmp_path


def now(store: Path, tag: str = "prod") -> str | None:
    current = read_tag(store, "tiny", tag).current
    return None if current is None else current.id


def back(store: Path) -> str | None:
    roll_back(store, "tiny", "prod", read_tag(store, "tiny", "prod"))
    return now(store)


def test_a_tag_moves_and_two_rollbacks_undo_two_moves(store: Path) -> None:
    for ident, version in ((A, "1.0.0"), (B, "1.1.0"), (C, "1.2.0")):
        move_tag(store, "tiny", "prod", ident, version)
        assert now(store) == ident
    assert [back(store), back(store)] == [B, A]
    with pytest.raises(SprueError, match="cannot be rolled back: it was moved once only"):
        back(store)
    move_tag(store, "tiny", "prod", C, "1.2.0")
    assert back(store) == A
    kinds = [m.kind for m in read_tag(store, "tiny", "prod").moves]
    assert kinds == ["move"] * 3 + ["rollback"] * 2 + ["move", "rollback"]


def test_moving_a_tag_to_where_it_is_adds_nothing(store: Path) -> None:
    move_tag(store, "tiny", "prod", A, "1.0.0")
    move_tag(store, "tiny", "prod", A, "1.0.0")
    assert len(read_tag(store, "tiny", "prod").moves) == 1


def test_a_removed_tag_means_nothing_and_keeps_its_history(store: Path) -> None:
    move_tag(store, "tiny", "prod", A, "1.0.0")
    remove_tag(store, "tiny", "prod")
    assert now(store) is None
    assert read_tags(store) == []
    with pytest.raises(SprueError, match="there is no tag 'tiny:prod'"):
        remove_tag(store, "tiny", "prod")
    move_tag(store, "tiny", "prod", B, "1.1.0")
    with pytest.raises(SprueError, match="cannot be rolled back"):
        previous(read_tag(store, "tiny", "prod"))
    assert [m.kind for m in read_tag(store, "tiny", "prod").moves] == ["move", "remove", "move"]


def test_tags_of_one_name_and_of_all_are_listed(store: Path) -> None:
    (store / "other").mkdir()
    for name, tag in (("tiny", "prod"), ("tiny", "canary"), ("other", "prod")):
        move_tag(store, name, tag, A, "1.0.0")
    assert [f"{t.name}:{t.tag}" for t in read_tags(store)] == ["other:prod", "tiny:canary", "tiny:prod"]
    assert [t.tag for t in read_tags(store, "tiny")] == ["canary", "prod"]


@pytest.mark.parametrize("tag", ["", "1.0.0", "Prod", "../x", "a/b", "a b", "é", "a" * 65, ".x", "a\n", "-x"])
def test_what_could_be_a_version_or_a_path_is_no_tag(store: Path, tag: str) -> None:
    with pytest.raises(SprueError, match="cannot be a tag"):
        move_tag(store, "tiny", tag, A, "1.0.0")
    assert list((store / "tiny").iterdir()) == []


def move(kind: str, ident: str | None, version: str | None = "1.0.0") -> dict[str, object]:
    return {"at": "2026-01-01T00:00:00Z", "id": ident, "kind": kind, "version": ident and version}


@pytest.mark.parametrize(
    "moves",
    [
        [move("rollback", A)],
        [move("remove", None)],
        [move("move", A), move("rollback", A)],
        [move("move", A), move("move", B), move("rollback", C)],
        [move("move", A), move("remove", A)],
        [move("move", None)],
        [move("move", "A" * 64)],
        [move("push", A)],
        [{**move("move", A), "at": "yesterday"}],
        [{**move("move", A), "by": "me"}],
        [{**move("move", A), "version": None}],
    ],
)
def test_a_history_that_cannot_have_been_is_refused(store: Path, moves: list[object]) -> None:
    path = store / "tiny" / "tags" / "prod.json"
    path.parent.mkdir()
    path.write_bytes(canonical({"schema": "sprue-tag/1", "moves": moves}))
    with pytest.raises(CheckError, match="not a valid tag"):
        read_tag(store, "tiny", "prod")


@given(
    st.binary(max_size=60) | st.sampled_from([b"[" * 10**5, b"{}", b'{"schema":"sprue-tag/2","moves":[]}'])
)
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = tmp_path_factory.getbasetemp()
    path = store / "fuzz" / "tags" / "prod.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with pytest.raises(CheckError):
        read_tag(store, "fuzz", "prod")


def test_moves_of_many_processes_are_all_in_the_history(store: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sprue.bundle.tags import move_tag\n"
        "for i in range(5): move_tag(Path(sys.argv[1]), 'tiny', 'prod', sys.argv[2] * 63 + str(i), '1.0.0')"
    )
    started = [subprocess.Popen([sys.executable, "-c", script, store, digit]) for digit in "abcd"]
    assert [p.wait(60) for p in started] == [0] * 4
    assert len(read_tag(store, "tiny", "prod").moves) == 20
