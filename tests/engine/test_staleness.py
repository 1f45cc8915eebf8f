"""Exactly what must run runs: one part of a key changed, its dependents and nothing else."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, KeysView
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sprue.engine.action import Action, Output, graph
from sprue.engine.cache import Cache
from sprue.engine.key import changes, key, parts, path_digest
from sprue.engine.pool import Pool
from sprue.engine.run import Event, Outcome, run

Make = Callable[..., Action]
Build = Callable[..., dict[str, Outcome]]
Read = Callable[[Outcome, str], str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("source ")
    return path


def diamond(make: Make, source: Path) -> list[Action]:
    """source -> a -> (b, c) -> d; and e, which needs nothing."""
    return [
        make("d", inputs={"left": Output("b", "joined"), "right": Output("c", "joined")}),
        make("b", inputs={"a": Output("a", "joined")}),
        make("c", inputs={"a": Output("a", "joined")}),
        make("a", inputs={"source": source}),
        make("e"),
    ]


def done(outcomes: dict[str, Outcome]) -> set[str]:
    assert {o.state for o in outcomes.values()} <= {"done", "cached"}
    return {name for name, o in outcomes.items() if o.state == "done"}


def changed(actions: list[Action], name: str, **fields: Any) -> list[Action]:
    return [replace(a, **fields) if a.name == name else a for a in actions]


def test_each_action_runs_after_those_that_it_needs_and_reads_their_output(
    build: Build, make: Make, source: Path, read: Read
) -> None:
    outcomes = build(*diamond(make, source))
    assert done(outcomes) == {"a", "b", "c", "d", "e"}
    assert read(outcomes["d"], "joined") == "source absource acd"


def test_what_was_done_is_not_done_again(build: Build, make: Make, source: Path) -> None:
    first = build(*diamond(make, source))
    second = build(*diamond(make, source))
    assert done(second) == set()
    assert {n: o.entry for n, o in first.items()} == {n: o.entry for n, o in second.items()}


@pytest.mark.parametrize(
    ("name", "fields", "again"),
    [
        ("b", {"params": {"text": "B"}}, {"b", "d"}),
        ("a", {"version": 2, "params": {"text": "A"}}, {"a", "b", "c", "d"}),
        ("c", {"tools": {"onnx": "2"}, "params": {"text": "C"}}, {"c", "d"}),
        ("e", {"params": {"text": "e", "list": [1, 2]}}, {"e"}),
        ("b", {"tools": {"onnx": "2"}}, {"b"}),
        ("d", {"version": 2}, {"d"}),
    ],
)
def test_a_changed_part_runs_exactly_the_dependents(
    build: Build, make: Make, source: Path, name: str, fields: dict[str, Any], again: set[str]
) -> None:
    """Where only a tool's version or the function's changes, the output is the same, and it ends there."""
    actions = diamond(make, source)
    build(*actions)
    assert done(build(*changed(actions, name, **fields))) == again
    assert done(build(*actions)) == set()


def test_one_changed_byte_of_a_source_runs_all_that_need_it(build: Build, make: Make, source: Path) -> None:
    build(*diamond(make, source))
    source.write_text("sourcf ")
    assert done(build(*diamond(make, source))) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("seconds", [0, 1, 2**31, -(2**31)])
def test_a_touched_file_runs_nothing_whatever_the_clock_says(
    build: Build, make: Make, source: Path, seconds: int
) -> None:
    build(*diamond(make, source))
    source.write_text("source ")
    os.utime(source, (seconds, seconds))
    assert done(build(*diamond(make, source))) == set()


def test_a_change_that_keeps_size_and_times_is_seen(build: Build, make: Make, source: Path) -> None:
    before = source.stat()
    build(*diamond(make, source))
    source.write_text("SOURCE ")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert done(build(*diamond(make, source))) == {"a", "b", "c", "d"}


def test_the_same_output_from_a_rerun_ends_the_rerun_there(build: Build, make: Make, source: Path) -> None:
    actions = [
        make("length", "length", {"source": source}),
        make("after", inputs={"length": Output("length", "length")}),
    ]
    build(*actions)
    source.write_text("SOURCE ")
    assert done(build(*actions)) == {"length"}


def test_a_source_that_moved_is_the_same_source(
    build: Build, make: Make, source: Path, tmp_path: Path
) -> None:
    build(*diamond(make, source))
    (tmp_path / "elsewhere").mkdir()
    moved = source.rename(tmp_path / "elsewhere" / source.name)
    assert done(build(*diamond(make, moved))) == set()


def test_a_renamed_file_is_another_input_because_actions_see_the_name(
    build: Build, make: Make, source: Path, read: Read
) -> None:
    assert read(build(make("name", "name", {"file": source}))["name"], "name") == "source.txt"
    renamed = source.rename(source.with_name("other.npz"))
    assert read(build(make("name", "name", {"file": renamed}))["name"], "name") == "other.npz"


def test_a_folder_is_its_files_without_hidden_ones_and_byte_code(
    build: Build, make: Make, tmp_path: Path, read: Read
) -> None:
    folder = tmp_path / "folder"
    for name in ("a.py", "sub/b.py", ".hidden", "__pycache__/a.pyc", "sub/.git/c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    action = make("tree", "tree", {"folder": folder})
    assert read(build(action)["tree"], "tree").split("\n") == ["a.py", "sub", "sub/b.py"]
    (folder / ".hidden").write_text("changed")
    (folder / "empty").mkdir()
    assert done(build(action)) == set()
    moved = folder.rename(tmp_path / "moved")
    assert done(build(make("tree", "tree", {"folder": moved}))) == set()
    (moved / "sub" / "b.py").rename(moved / "sub" / "c.py")
    assert done(build(make("tree", "tree", {"folder": moved}))) == {"tree"}


def test_a_file_that_reads_like_a_folders_listing_is_not_that_folder(make: Make, tmp_path: Path) -> None:
    from sprue.canonical import canonical, file_digest

    folder, file = tmp_path / "x", tmp_path / "y"
    folder.mkdir()
    (folder / "a").write_text("a")
    file.write_bytes(canonical({"a": file_digest(folder / "a")}))
    assert path_digest(folder) == path_digest(file)
    one, two = (make("n", "name", {"file": p}) for p in (folder, file))
    assert parts(one, {"file": path_digest(folder)}) != parts(two, {"file": path_digest(file)})


def test_equal_actions_of_different_names_run_once(build: Build, make: Make, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    actions = [make(f"n{i}", params={"text": "same", "ran": str(ran)}) for i in range(8)]
    outcomes = build(*actions)
    assert ran.read_text() == "x\n"
    assert sorted(o.state for o in outcomes.values()) == ["cached"] * 7 + ["done"]


def test_what_a_failed_twin_left_undone_is_tried_by_the_other(
    build: Build, make: Make, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    params = {"how": "sprue", "ran": str(ran), "text": ""}
    outcomes = build(make("one", "fail", params=params), make("two", "fail", params=params))
    assert {o.state for o in outcomes.values()} == {"failed"}
    assert ran.read_text() == "x\nx\n"


def test_known_outcomes_are_built_upon(build: Build, make: Make, source: Path, read: Read) -> None:
    first = build(make("a", inputs={"source": source}))
    second = build(make("b", inputs={"a": Output("a", "joined")}), known=first)
    assert read(second["b"], "joined") == "source ab"
    assert set(second) == {"a", "b"}


def test_a_folder_of_an_output_is_an_input(build: Build, make: Make, read: Read) -> None:
    outcomes = build(
        make("many", "many"),
        make("all", "tree", {"folder": Output("many")}),
        make("one", "tree", {"folder": Output("many", "3")}),
        make("file", "length", {"data": Output("many", "3/data")}),
    )
    assert read(outcomes["all"], "tree").count("data") == 5
    assert read(outcomes["one"], "tree") == "data"
    assert read(outcomes["file"], "length") == "3000"


@pytest.mark.parametrize("path", ["absent", "1/absent", "1/dat", "1/data/x"])
def test_an_output_that_is_not_there_fails_its_reader(build: Build, make: Make, path: str) -> None:
    outcomes = build(make("many", "many"), make("reader", "tree", {"folder": Output("many", path)}))
    assert outcomes["many"].state == "done"
    assert outcomes["reader"].state == "failed"
    assert outcomes["reader"].failure is not None
    assert f"the action many made no '{path}'" in str(outcomes["reader"].failure)


def test_a_source_that_is_not_there_fails_its_reader(build: Build, make: Make, tmp_path: Path) -> None:
    outcomes = build(make("a", inputs={"x": tmp_path / "absent"}), make("b"))
    assert {n: o.state for n, o in outcomes.items()} == {"a": "failed", "b": "done"}
    assert "absent: cannot read it: No such file or directory" in str(outcomes["a"].failure)


def test_an_action_cannot_spoil_what_others_read(build: Build, make: Make, source: Path, read: Read) -> None:
    outcomes = build(
        make("a", inputs={"source": source}),
        make("spoil", "spoil", {"file": Output("a", "joined")}),
        make("spoil source", "spoil", {"file": source}),
        make("b", inputs={"a": Output("a", "joined"), "after": Output("spoil", "done")}),
    )
    assert read(outcomes["b"], "joined") == "source adoneb"
    assert source.read_text() == "source "


def test_a_source_edited_during_the_build_is_refused(
    make: Make, source: Path, cache: Cache, pool: Pool, read: Read
) -> None:
    """`slow` hashes the source first, then `late` finds it changed: the key would be a lie."""
    actions = [
        make("early", inputs={"source": source}),
        make("late", inputs={"source": source, "early": Output("early", "joined")}),
    ]

    def edit(event: Event) -> None:
        if (event.action, event.state) == ("early", "done"):
            source.write_text("edited ")

    outcomes = run(actions, cache, pool, edit)
    assert {n: o.state for n, o in outcomes.items()} == {"early": "done", "late": "failed"}
    assert "source.txt: it changed while the build ran" in str(outcomes["late"].failure)
    again = run(actions, cache, pool)
    assert read(again["late"], "joined") == "edited edited earlylate"


def test_changes_names_the_part_that_changed(make: Make) -> None:
    before = make(
        "a", params={"text": "a", "gone": 1}, tools={"onnx": "1.22"}, inputs={"model": Output("x", "m")}
    )
    after = replace(before, params={"text": "b", "new": None}, tools={"onnx": "1.23"}, version=2)
    lines = changes(parts(before, {"model": "1" * 64}), parts(after, {"model": "2" * 64}))
    assert lines == [
        "input:model: 111111111111… -> 222222222222…",
        "param:gone: 1 -> (none)",
        "param:new: (none) -> null",
        'param:text: "a" -> "b"',
        "tool:onnx: 1.22 -> 1.23",
        "version: 1 -> 2",
    ]
    assert changes(parts(before, {"model": "1"}), parts(before, {"model": "1"})) == []


def test_the_cache_remembers_the_parts_of_the_last_success_only(
    build: Build, make: Make, source: Path, cache: Cache
) -> None:
    build(make("a", inputs={"source": source}))
    first = cache.last("a")
    assert first is not None
    parts = cache.parts(first.key)
    assert parts is not None
    assert parts["input:source"] == path_digest(source)
    build(make("a", "fail", params={"how": "sprue"}))
    assert cache.last("a") == first
    assert cache.last("b") is None


def test_no_two_actions_that_differ_share_a_key(make: Make) -> None:
    """Parts that would run into each other if they were joined without names and lengths."""
    actions = [
        make("n", params={"text": "ab"}),
        make("n", params={"text": "a", "b": ""}),
        make("n", params={"text": "a", "tool:b": ""}),
        make("n", params={"text": "a"}, tools={"b": ""}),
        make("n", params={"text": "a"}, tools={"b": '""'}),
        make("n", params={"text": 1}),
        make("n", params={"text": 1.0}),
        make("n", params={"text": True}),
        make("n", params={"text": "1"}),
        make("n", params={"text": None}),
        make("n", params={"text": [1, 2]}),
        make("n", params={"text": [[1], 2]}),
        make("n", "length"),
        make("n", version=2),
        make("n", inputs={"text": Output("a")}),
        make("n", inputs={"text": Output("a", "b")}),
    ]
    keys = {key(parts(a, dict.fromkeys(a.inputs, "0" * 64))) for a in actions}
    assert len(keys) == len(actions)


def test_neither_name_nor_timeout_nor_the_order_of_words_is_in_the_key(make: Make) -> None:
    one = make("one", params={"text": "", "x": 1, "y": 2}, timeout=1.0)
    two = make("two", params={"y": 2, "x": 1, "text": ""}, timeout=2.0, alone=True)
    assert key(parts(one, {})) == key(parts(two, {}))


def test_cycles_and_actions_that_nobody_made_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="cycle"):
        graph([make("a", inputs={"b": Output("b")}), make("b", inputs={"a": Output("a")})])
    with pytest.raises(ValueError, match=r"no action makes: \['b'\]"):
        graph([make("a", inputs={"b": Output("b")})])
    with pytest.raises(ValueError, match="two different actions are called 'a'"):
        graph([make("a"), make("a", version=2)])
    assert list(graph([make("a"), make("a")])) == ["a"]


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_a_graph_is_put_right(make: Make, seed: int) -> None:
    rng = random.Random(seed)
    count = 40
    needs = {i: rng.sample(range(i), min(i, rng.randint(0, 4))) for i in range(count)}
    actions = [make(str(i), inputs={str(n): Output(str(n)) for n in needs[i]}) for i in range(count)]
    rng.shuffle(actions)
    order = [int(name) for name in graph(actions)]
    assert sorted(order) == list(range(count))
    assert all(order.index(n) < order.index(i) for i in range(count) for n in needs[i])


def test_a_chain_of_ten_thousand_is_ordered_in_no_time(make: Make) -> None:
    chain = [make(str(i), inputs={"before": Output(str(i - 1))} if i else {}) for i in range(10_000)]
    assert list(graph(reversed(chain))) == [str(i) for i in range(10_000)]


def test_what_is_known_is_not_gone_through_for_each_action(make: Make, cache: Cache, pool: Pool) -> None:
    """Else a build of ten thousand recipes, which hands on what it knows, would take the square of it."""

    class Counted(dict[str, Outcome]):
        turns = 0

        def keys(self) -> KeysView[str]:  # type: ignore[override]  # what a dict's keys can do is enough
            Counted.turns += 1
            return super().keys()

    known = Counted(run([make("first")], cache, pool))
    turns = []
    for count in (2, 20):
        Counted.turns = 0
        actions = [make(f"n{i}", inputs={"x": Output("first", "joined")}) for i in range(count)]
        run(actions, cache, pool, known=known)
        turns.append(Counted.turns)
    assert turns[0] == turns[1]
