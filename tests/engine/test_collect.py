"""Collections remove what was used longest ago, and never what a running build uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from sprue.engine.cache import Cache, Entry
from sprue.engine.collect import _only_one, collect, retire
from sprue.engine.contents import stats
from sprue.engine.key import key
from sprue.errors import SprueError

HOUR = 3600
OLD = 100 * 24 * HOUR

HOLD = """
import sys
from pathlib import Path
from sprue.engine.cache import Cache
with Cache(Path(sys.argv[1])).in_use():
    print("holding", flush=True)
    sys.stdin.read()
"""

BUILD = """
import json, sys
from pathlib import Path
from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache, Corrupt
from sprue.engine.pool import Pool
from sprue.engine.run import run

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
seen = []
with Pool(1, 1) as pool:
    for i in range(rounds):
        cache, text = Cache(folder), f"text {i % 7} "
        a = Action("a", "sample_actions:join", 1, {"text": text})
        b = Action("b", "sample_actions:join", 1, {"text": "b"}, {"a": Output("a", "joined")})
        c = Action("c", "sample_actions:join", 1, {"text": "c"}, {"b": Output("b", "joined")})
        with cache.in_use():
            outcomes = run([a, b, c], cache, pool)
            for name, right in (("a", text), ("b", text + "b"), ("c", text + "bc")):
                entry = outcomes[name].entry
                try:
                    if entry is None:
                        seen.append(f"failed: {outcomes[name].failure}")
                    elif cache.read(entry.files["joined"]).decode() != right:
                        seen.append("wrong bytes")
                    else:
                        seen.append(outcomes[name].state)
                except Corrupt as error:
                    seen.append(f"{error}: run the build again")
print(json.dumps(seen))
"""


def add(cache: Cache, name: str, files: dict[str, bytes], age: float = OLD) -> Entry:
    """An entry whose last use, and whose blobs, are `age` seconds old."""
    with cache.workspace() as folder:
        made = folder / "out"
        made.mkdir()
        for path, data in files.items():
            (made / path).write_bytes(data)
        named = {"function": "test:add", "param:name": name}
        entry = cache.add(key(named), name, named, made, 1.0)
    cache.remember(entry)
    for place in [entry_path(cache, entry), *(blob_path(cache, s) for s in entry.files.values())]:
        turn_back(place, age)
    return entry


def turn_back(path: Path, age: float) -> None:
    then = time.time() - age
    os.utime(path, (then, then))


def entry_path(cache: Cache, entry: Entry) -> Path:
    return cache.folder / "actions" / entry.key[:2] / f"{entry.key}.json"


def blob_path(cache: Cache, sha: str) -> Path:
    return cache.folder / "blobs" / sha[:2] / sha


def left(cache: Cache, *entries: Entry) -> list[str]:
    """The names of those entries that a build would find, with all their blobs."""
    return [e.name for e in entries if cache.find(e.key) is not None]


def disk(cache: Cache) -> dict[str, int]:
    found = (p for p in cache.folder.rglob("*") if p.is_file() and "builds" not in p.parts)
    return {str(p.relative_to(cache.folder)): p.stat().st_mtime_ns for p in found}


@contextmanager
def holding(cache: Cache) -> Iterator[subprocess.Popen[str]]:
    """A process with a build in progress."""
    command = [sys.executable, "-c", HOLD, str(cache.root)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_was_used_longest_ago_goes_first(cache: Cache) -> None:
    entries = [add(cache, f"e{i}", {"f": bytes([i]) * 10_000}, age=(i + 1) * HOUR) for i in range(5)]
    done = collect(cache, 35_000)
    assert left(cache, *entries) == ["e0", "e1", "e2"]
    assert (done.entries, done.blobs) == (2, 2)
    assert done.size <= 35_000


def test_a_hit_counts_as_use(cache: Cache) -> None:
    first = add(cache, "first", {"f": b"1" * 10_000}, age=3 * HOUR)
    second = add(cache, "second", {"f": b"2" * 10_000}, age=2 * HOUR)
    assert cache.find(first.key) == first
    collect(cache, 15_000)
    assert left(cache, first, second) == ["first"]


def test_the_size_that_is_said_is_what_lies_on_the_disk(cache: Cache) -> None:
    for i in range(6):
        add(cache, f"e{i}", {"f": bytes([i]) * 7_000, "shared": b"s" * 3_000}, age=(i + 1) * HOUR)
    before = stats(cache).size
    done = collect(cache, 30_000)
    files = [p for p in cache.folder.rglob("*") if p.is_file() and p.parent.name != "builds"]
    on_disk = sum(p.stat().st_size for p in files)
    assert done.size == stats(cache).size == on_disk <= 30_000
    assert before - done.freed == done.size


def test_a_blob_stays_while_an_entry_refers_to_it(cache: Cache) -> None:
    new = add(cache, "new", {"f": b"shared" * 1000}, age=HOUR)
    old = add(cache, "old", {"f": b"shared" * 1000, "g": b"own" * 1000}, age=2 * HOUR)
    collect(cache, 8_000)
    assert left(cache, new, old) == ["new"]
    assert not blob_path(cache, old.files["g"]).exists()


def test_blobs_of_no_entry_go(cache: Cache) -> None:
    lost = add(cache, "lost", {"f": b"lost"})
    cache.discard(lost.key)
    assert collect(cache, 10**9).blobs == 1
    assert not blob_path(cache, lost.files["f"]).exists()


def test_a_dry_run_says_what_a_run_does_and_changes_nothing(cache: Cache) -> None:
    for i in range(4):
        add(cache, f"e{i}", {"f": bytes([i]) * 5_000, "shared": b"s" * 2_000}, age=(i + 1) * HOUR)
    before = disk(cache)
    forecast = collect(cache, 12_000, dry_run=True)
    assert disk(cache) == before
    assert collect(cache, 12_000) == forecast


def test_what_is_young_stays_whatever_its_size(cache: Cache) -> None:
    young = add(cache, "young", {"f": b"y" * 10_000}, age=HOUR)
    old = add(cache, "old", {"f": b"o" * 10}, age=OLD)
    collect(cache, 0, older_than=2 * HOUR)
    assert left(cache, young, old) == ["young"]


def test_what_a_running_build_uses_stays_and_what_it_does_not_use_goes(cache: Cache) -> None:
    used = add(cache, "used", {"f": b"used"}, age=2 * OLD)
    other = add(cache, "other", {"f": b"other"}, age=OLD)
    with cache.in_use():
        assert cache.find(used.key) == used
        done = collect(cache, 0)
        assert left(cache, used, other) == ["used"]
        assert done.protected == 1
        fresh = add(cache, "fresh", {"f": b"fresh"}, age=0)
        unfinished = add(cache, "unfinished", {"f": b"unfinished"}, age=0)
        cache.discard(unfinished.key)
        collect(cache, 0)
        assert left(cache, used, fresh) == ["used", "fresh"]
        assert blob_path(cache, unfinished.files["f"]).exists()


def test_what_was_used_since_the_oldest_live_build_began_stays_until_that_is_killed(cache: Cache) -> None:
    with holding(cache) as process:
        time.sleep(0.02)
        with cache.in_use():
            entry = add(cache, "entry", {"f": b"entry"}, age=0)
        later = time.time() + 60
        os.utime(entry_path(cache, entry), (later, later))  # as if a minute had gone by
        collect(cache, 0)
        assert left(cache, entry) == ["entry"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    for path in (entry_path(cache, entry), blob_path(cache, entry.files["f"])):
        turn_back(path, 60)
    collect(cache, 0)
    assert left(cache, entry) == []
    assert list((cache.folder / "builds").glob("*.lock")) == []


def test_a_build_that_began_before_the_clock_was_set_back_is_protected(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = add(cache, "entry", {"f": b"entry"})
    with cache.in_use():
        earlier = time.time_ns() - 10 * HOUR * 10**9
        monkeypatch.setattr(time, "time_ns", lambda: earlier)
        assert cache.find(entry.key) == entry
        fresh = cache.find(entry.key)
        assert fresh is not None
        collect(cache, 0)
        assert left(cache, entry) == ["entry"]


def test_a_time_of_use_in_the_future_protects_nothing(cache: Cache) -> None:
    entry = add(cache, "entry", {"f": b"entry"}, age=-OLD)
    new = add(cache, "new", {"f": b"new"}, age=HOUR)
    collect(cache, 600)
    assert left(cache, entry, new) == ["new"]


def test_an_entry_that_is_used_while_it_is_set_aside_comes_back(cache: Cache, tmp_path: Path) -> None:
    entry = add(cache, "entry", {"f": b"entry"})
    path = entry_path(cache, entry)
    before = path.read_bytes()

    def used(hidden: Path) -> bool:
        assert cache.find(entry.key) is None, "a build must not use what may be going"
        return True

    assert not retire(path, tmp_path, used)
    assert path.read_bytes() == before
    assert cache.find(entry.key) == entry
    assert retire(path, tmp_path, lambda _: False)
    assert cache.find(entry.key) is None
    assert not retire(path, tmp_path, lambda _: False)


def test_what_was_made_anew_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path, aside = tmp_path / "blob", tmp_path / "aside"
    aside.mkdir()
    path.write_text("old")

    def wanted(_: Path) -> bool:
        path.write_text("new")
        return True

    assert not retire(path, aside, wanted)
    assert path.read_text() == "new"


def test_logs_records_and_what_killed_processes_left_go_too(cache: Cache) -> None:
    names = ("logs/x.log", "settled/ab/x.json", "blobs/ab/.tmp-x", "actions/ab/.tmp-x")
    paths = [cache.folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        turn_back(path, OLD)
    orphan = cache.folder / "work" / "build-dead"
    orphan.mkdir(parents=True)
    (orphan / "file").write_text("x")
    orphan.with_name("build-dead.lock").touch()
    done = collect(cache, 0)
    assert [p for p in paths if p.exists()] == []
    assert not orphan.exists()
    assert (done.hints, done.leftovers) == (2, 3)


def test_a_file_that_is_being_written_stays(cache: Cache) -> None:
    path = cache.folder / "blobs" / "ab" / ".tmp-now"
    path.parent.mkdir(parents=True)
    path.write_text("half")
    collect(cache, 0)
    assert path.exists()


def test_a_damaged_entry_goes_as_an_unused_one_does(cache: Cache) -> None:
    entry = add(cache, "entry", {"f": b"entry"})
    path = entry_path(cache, entry)
    path.chmod(0o644)
    path.write_bytes(b"{")
    turn_back(path, OLD)
    assert stats(cache).unreadable == 1
    collect(cache, 0)
    assert not path.exists()


def test_two_collections_at_once_are_refused(cache: Cache) -> None:
    with _only_one(cache), pytest.raises(SprueError, match="another collection"):
        collect(cache, 0)


@contextmanager
def builds(cache: Cache, count: int, rounds: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that build the same things again and again."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", BUILD, str(cache.root), str(rounds)]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def said(processes: list[subprocess.Popen[str]]) -> list[str]:
    """How each action of each build ended."""
    return [state for process in processes for state in json.loads(process.communicate()[0])]


@pytest.mark.slow
def test_builds_beside_collections_give_the_right_bytes_and_never_fail(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sprue.engine.collect.GRAIN", 0)  # one file system, one clock: the narrowest race
    collections = removed = 0
    with builds(cache, 3, rounds=80) as started:
        while any(b.poll() is None for b in started):
            removed += collect(cache, 0).entries
            collections += 1
        seen = said(started)
    counts = {state: seen.count(state) for state in sorted(set(seen))}
    print(f"{collections} collections removed {removed} entries beside {len(seen)} actions: {counts}")
    assert len(seen) == 3 * 80 * 3
    assert set(seen) == {"cached", "done"}
    assert removed > 20


@pytest.mark.slow
def test_blobs_that_vanish_under_running_builds_never_give_wrong_bytes(cache: Cache) -> None:
    random = Random(5)
    removed = 0
    with builds(cache, 2, rounds=60) as started:
        while any(b.poll() is None for b in started):
            for path in cache.folder.glob("blobs/*/*"):
                if random.random() < 0.3:
                    path.unlink(missing_ok=True)
                    removed += 1
            time.sleep(0.005)
        seen = said(started)
    wrong = [s for s in seen if s not in ("cached", "done", "skipped") and "run the build again" not in s]
    print(f"{removed} blobs removed beside {len(seen)} actions; {len(wrong)} went wrong")
    assert wrong == []
    assert removed > 20
    assert seen.count("done") > 3 * 7
