"""The cache trusts nothing: damage of any kind is said and made again, never used."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.canonical import canonical, digest
from sprue.durable import owned_folder
from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache, Corrupt, Entry
from sprue.engine.collect import collect
from sprue.engine.pool import Pool
from sprue.engine.run import Event, Outcome, run
from sprue.errors import SprueError

Make = Callable[..., Action]
Build = Callable[..., dict[str, Outcome]]
Read = Callable[[Outcome, str], str]
KEY = digest(b"key")


@pytest.fixture
def entry(cache: Cache, tmp_path: Path) -> Entry:
    """An entry of two files, one of them small, with words that are not ASCII."""
    made = tmp_path / "made" / "out"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "größe").write_bytes(b"the small blob")
    (made / "empty").write_bytes(b"")
    return cache.add(KEY, "name", {"param:x": '"y"'}, made, 0.5)


def entry_path(cache: Cache) -> Path:
    return cache.folder / "actions" / KEY[:2] / f"{KEY}.json"


def blob_path(cache: Cache, sha: str) -> Path:
    return cache.folder / "blobs" / sha[:2] / sha


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_what_was_added_is_found(cache: Cache, entry: Entry) -> None:
    assert cache.find(KEY) == entry
    assert set(entry.files) == {"sub/größe", "empty"}
    assert cache.read(entry.files["sub/größe"]) == b"the small blob"
    assert cache.find(digest(b"other")) is None


def test_what_lies_in_the_cache_is_read_only(cache: Cache, entry: Entry) -> None:
    files = [p for p in cache.folder.rglob("*") if p.is_file()]
    assert len(files) == 3
    assert all(p.stat().st_mode & 0o222 == 0 for p in files)


@pytest.mark.parametrize(
    "bit", [0, 5, *(pytest.param(b, marks=pytest.mark.slow) for b in (1, 2, 3, 4, 6, 7))]
)
def test_a_flipped_bit_at_any_place_of_an_entry_is_found(cache: Cache, entry: Entry, bit: int) -> None:
    path = entry_path(cache)
    good = path.read_bytes()
    for i in range(len(good)):
        damage(path, good[:i] + bytes([good[i] ^ (1 << bit)]) + good[i + 1 :])
        with pytest.raises(Corrupt):
            cache.find(KEY)
    damage(path, good)
    assert cache.find(KEY) == entry


def test_a_truncation_at_any_place_of_an_entry_is_found(cache: Cache, entry: Entry) -> None:
    path = entry_path(cache)
    good = path.read_bytes()
    for i in range(len(good)):
        damage(path, good[:i])
        with pytest.raises(Corrupt):
            cache.find(KEY)


def test_a_flipped_bit_or_a_truncation_at_any_place_of_a_blob_is_found(
    cache: Cache, entry: Entry, tmp_path: Path
) -> None:
    sha = entry.files["sub/größe"]
    path = blob_path(cache, sha)
    good = path.read_bytes()
    bad = [good[:i] for i in range(len(good))] + [good + b"x"]
    bad += [
        good[:i] + bytes([good[i] ^ (1 << b)]) + good[i + 1 :] for i in range(len(good)) for b in range(8)
    ]
    for data in bad:
        damage(path, data)
        for use in (
            lambda: cache.find(KEY),
            lambda: cache.read(sha),
            lambda: cache.take_file(sha, tmp_path / "t"),
        ):
            with pytest.raises(Corrupt):
                use()
        assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "5",
        '"entry"',
        "{}",
        '{"entry":null,"sha256":""}',
        '{"entry":5,"sha256":"' + digest(b"5") + '"}',
        '{"entry":[],"sha256":"' + digest(b"[]") + '"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\x00" * 500,
        "NaN",
        "1" * 5000,
    ],
    ids=str.__len__,
)
def test_an_entry_that_is_something_else_is_damaged(cache: Cache, entry: Entry, text: str) -> None:
    damage(entry_path(cache), text.encode())
    with pytest.raises(Corrupt):
        cache.find(KEY)
    cache.discard(KEY)
    assert cache.find(KEY) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "0" * 64},
        {"files": ["a"]},
        {"files": {"a": 5}},
        {"files": {"a": ["x"]}},
        {"files": {"a": "../../../../etc/passwd"}},
        {"files": {"a": "A" * 64}},
        {"more": 1},
        {"files": None},
    ],
)
def test_an_entry_that_agrees_with_itself_but_is_no_entry_is_damaged(
    cache: Cache, entry: Entry, fields: dict[str, object]
) -> None:
    body = vars(entry) | fields
    damage(entry_path(cache), canonical({"entry": body, "sha256": digest(canonical(body))}))
    with pytest.raises(Corrupt):
        cache.find(KEY)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_an_entry_whose_paths_leave_the_folder_is_not_taken(
    cache: Cache, entry: Entry, name: str, tmp_path: Path
) -> None:
    with pytest.raises(Corrupt):
        cache.take({name: entry.files["empty"]}, tmp_path / "into" / "here")


@pytest.mark.parametrize("kind", ["missing", "folder", "dangling link", "fifo-like entry"])
def test_a_blob_or_entry_that_is_no_file_is_damaged(cache: Cache, entry: Entry, kind: str) -> None:
    path = entry_path(cache) if kind == "fifo-like entry" else blob_path(cache, entry.files["empty"])
    path.unlink()
    if kind in ("folder", "fifo-like entry"):
        path.mkdir()
    if kind == "dangling link":
        path.symlink_to("nowhere")
    with pytest.raises(Corrupt):
        cache.find(KEY)


def chain(make: Make) -> list[Action]:
    return [make("a"), make("b", inputs={"a": Output("a", "joined")}), make("many", "many")]


def harm(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    how = rng.choice(["flip", "cut", "remove", "empty", "zeros"])
    if how == "remove" or not data:
        path.unlink()
        return
    at = rng.randrange(len(data))
    flipped = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    damage(path, {"flip": flipped, "cut": data[:at], "empty": b"", "zeros": bytes(len(data))}[how])


@pytest.mark.parametrize("seed", range(12))
def test_a_corrupt_cache_is_rebuilt_not_used(make: Make, cache: Cache, pool: Pool, seed: int) -> None:
    rng = random.Random(seed)
    first = run(chain(make), cache, pool)
    files = sorted(
        p for name in ("blobs", "actions") for p in (cache.folder / name).rglob("*") if p.is_file()
    )
    files.append(cache.folder / "last")
    for path in rng.sample(files, rng.randint(1, len(files))):
        harm(path, rng)
    notes: list[Event] = []
    second = run(chain(make), cache, pool, lambda e: notes.append(e) if e.state == "note" else None)
    assert {n: o.entry.files for n, o in second.items() if o.entry} == {
        n: o.entry.files for n, o in first.items() if o.entry
    }
    for outcome in second.values():
        assert outcome.entry is not None
        for sha in outcome.entry.files.values():
            assert hashlib.sha256(cache.read(sha)).hexdigest() == sha
    assert all("made again" in n.text for n in notes)
    assert {o.state for o in run(chain(make), cache, pool).values()} == {"cached"}


def test_damage_is_said(make: Make, cache: Cache, pool: Pool) -> None:
    entry = run(chain(make), cache, pool)["a"].entry
    assert entry is not None
    damage(blob_path(cache, entry.files["joined"]), b"A")
    notes: list[Event] = []
    outcomes = run(chain(make), cache, pool, lambda e: notes.append(e) if e.state == "note" else None)
    assert [n.text for n in notes] == [f"the blob {entry.files['joined']} is damaged: made again"]
    assert {n: o.state for n, o in outcomes.items()} == {"a": "done", "b": "cached", "many": "cached"}


def test_a_folder_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(SprueError, match="not a sprue cache, and not empty"):
        Cache(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("other", ["sprue-cache-1", "sprue-cache-99", "format"])
def test_a_cache_of_another_format_is_said_and_left_alone_and_a_new_one_begun(
    tmp_path: Path, other: str, make: Make, pool: Pool
) -> None:
    """ "format" is the marker of the oldest ones, which lie in the folder itself."""
    there = tmp_path / (other if other != "format" else "blobs") / "ab" / "file"
    there.parent.mkdir(parents=True)
    there.write_text("theirs")
    if other == "format":
        (tmp_path / other).write_text("sprue-cache 1\n")
    before = {p: p.stat() for p in tmp_path.rglob("*")}
    begun = Cache(tmp_path)
    assert f"another version of sprue ({other})" in begun.note
    assert run([make("a")], begun, pool)["a"].state == "done"
    collect(begun, 0)
    again = Cache(tmp_path)
    assert (again.note, again.others()) == ("", [other])
    assert run([make("a")], again, pool)["a"].state == "cached"
    assert {p: p.stat() for p in before} == before


def test_a_cache_whose_version_was_changed_is_rebuilt_and_found_again_when_that_is_put_right(
    tmp_path: Path, make: Make, pool: Pool
) -> None:
    first = Cache(tmp_path / "cache")
    run([make("a")], first, pool)
    other = first.folder.rename(first.root / "sprue-cache-99")
    second = Cache(tmp_path / "cache")
    assert "sprue-cache-99" in second.note
    assert run([make("a")], second, pool)["a"].state == "done"
    shutil.rmtree(second.folder)
    other.rename(first.folder)
    assert run([make("a")], Cache(tmp_path / "cache"), pool)["a"].state == "cached"


def test_a_file_or_a_place_below_a_file_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/below"):
        with pytest.raises(SprueError, match="cannot use the cache"):
            Cache(tmp_path / place)


def test_hidden_files_are_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".stfolder").mkdir()
    assert Cache(tmp_path).find(KEY) is None


def test_the_work_folders_of_dead_builds_are_swept_and_those_of_the_living_kept(
    build: Build, make: Make, cache: Cache
) -> None:
    work = cache.folder / "work"
    for name in ("dead", "old"):
        (work / f"build-{name}" / "1" / "out").mkdir(parents=True)
        (work / f"build-{name}.lock").touch()
    os.utime(work / "build-dead", (2**33, 2**33))
    with owned_folder(work, "build-") as alive:
        os.utime(alive, (0, 0))
        (alive / "file").touch()
        build(make("a"))
        assert {p.name for p in work.iterdir()} == {alive.name, f"{alive.name}.lock"}
        assert (alive / "file").exists()
    assert list(work.iterdir()) == []


def test_a_full_disk_fails_actions_and_leaves_nothing_wrong(make: Make, pool: Pool, tmp_path: Path) -> None:
    import subprocess

    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        cache = Cache(place / "cache")
        actions = [make(f"n{i}", "fill", params={"bytes": 400_000, "i": i}) for i in range(8)]
        outcomes = run(actions, cache, pool)
        states = [o.state for o in outcomes.values()]
        assert 0 < states.count("done") < 8
        assert states.count("done") + states.count("failed") == 8
        reasons = {o.failure.what for o in outcomes.values() if o.failure is not None}
        assert all("No space left on device" in r for r in reasons)
        shutil.rmtree(cache.folder / "work", ignore_errors=True)
        for outcome in outcomes.values():
            if outcome.entry is not None:
                assert cache.find(outcome.entry.key) == outcome.entry
        records = [json.loads(p.read_bytes()) for p in (cache.folder / "actions").rglob("*.json")]
        assert len(records) == states.count("done")
        assert not list(place.rglob(".tmp-*"))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
