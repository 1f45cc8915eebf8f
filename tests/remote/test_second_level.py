"""What one machine has made is used by another, if it can be believed; nothing else breaks a build."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sprue.canonical import canonical, digest, parse
from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.pool import Pool
from sprue.engine.run import Event, run
from sprue.registry.places.folder import Folder
from sprue.registry.protocol import MANIFEST, Content, Descriptor, Registry, Stream, Unreachable, connect
from sprue.remote.second_level import PATIENCE, SecondLevel
from sprue.remote.signing import Keys, read_keys

from .on_disk import blob_of, entry, largest, overwrite, raw_record, replace_record

pytestmark = pytest.mark.slow

KeyFiles = Callable[[str], tuple[Path, Path]]

ACTIONS = """
from pathlib import Path

def make(inputs, params, out):
    with Path(params["ran"]).open("a") as log:
        log.write("x")
    (out / "folder").mkdir()
    (out / "folder" / "file").write_text(params["text"])
    (out / "again").write_text(params["text"])
    (out / "large").write_bytes(params["text"].encode() * 40_000)

def join(inputs, params, out):
    (out / "joined").write_bytes(inputs["large"].read_bytes()[:10] + b" joined")
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder = tmp_path_factory.mktemp("actions")
    (folder / "remote_actions.py").write_text(ACTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
        with Pool(2, 1) as opened:
            yield opened


class Machine:
    """Builds with a cache of its own; `ran` counts what it had to make itself."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.ran_file = folder / "ran"
        self.cache = Cache(folder / "cache")
        self.pool = pool
        self.notes: list[str] = []

    def build(
        self, place: Registry, keys: Keys, *, write: bool = False, names: str = "a", grace: float = 15.0
    ) -> list[str]:
        """The states of the actions `names` and of `join`, which needs the first. Asserts the right bytes."""
        # What an action is told is part of its key: all machines write the same log.
        made = [
            Action(n, "remote_actions:make", 1, {"text": n, "ran": str(self.ran_file.parents[1] / "ran")})
            for n in names
        ]
        join = Action("join", "remote_actions:join", 1, inputs={"large": Output(names[0], "large")})

        def listen(event: Event) -> None:
            if event.state == "note":
                self.notes.append(event.text)

        with self.cache.in_use():
            with SecondLevel(place, self.cache, keys, write=write, grace=grace) as shared:
                outcomes = run([*made, join], self.cache, self.pool, listen, shared=shared)
            self.notes += shared.notes()
            for name in names:
                entry = outcomes[name].entry
                assert entry is not None, outcomes[name].failure
                texts = [self.cache.read(entry.files[f]).decode() for f in ("folder/file", "again", "large")]
                assert texts == [name, name, name * 40_000]
            joined = outcomes["join"].entry
            assert joined is not None
            assert self.cache.read(joined.files["joined"]).decode() == names[0] * 10 + " joined"
        return [o.state for o in outcomes.values()]


@pytest.fixture
def machine(tmp_path: Path, pool: Pool) -> Callable[[str], Machine]:
    """A machine of that name."""

    def machine(name: str) -> Machine:
        (tmp_path / name).mkdir(exist_ok=True)
        return Machine(tmp_path / name, pool)

    return machine


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    (tmp_path / "remote").mkdir()
    return tmp_path / "remote"


@pytest.fixture
def filled(remote: Path, machine: Callable[[str], Machine]) -> Path:
    """A folder in which a first machine has left what it made, unsigned."""
    assert machine("first").build(Folder(remote), Keys(), write=True) == ["done", "done"]
    return remote


def test_what_one_machine_made_another_takes(url: str, machine: Callable[[str], Machine]) -> None:
    first, second = machine("first"), machine("second")
    assert first.build(connect(url), Keys(), write=True) == ["done", "done"]
    assert second.build(connect(url), Keys()) == ["cached", "cached"]
    assert second.build(connect(url), Keys()) == ["cached", "cached"]
    assert first.notes == second.notes == []


def test_without_the_right_to_write_nothing_is_written(
    remote: Path, machine: Callable[[str], Machine]
) -> None:
    machine("first").build(Folder(remote), Keys())
    assert list(remote.iterdir()) == []


def test_what_is_damaged_is_made_here_and_put_right_by_who_may_write(
    filled: Path, machine: Callable[[str], Machine]
) -> None:
    blob = largest(filled)
    overwrite(blob, b"A" + blob.read_bytes()[1:])
    second = machine("second")
    assert second.build(Folder(filled), Keys(), write=True) == ["done", "cached"]
    assert any("is damaged" in note for note in second.notes)
    assert machine("third").build(Folder(filled), Keys()) == ["cached", "cached"]


@pytest.mark.slow
def test_every_kind_of_damage_to_a_record_or_a_blob_is_found(
    filled: Path, machine: Callable[[str], Machine]
) -> None:
    tried = wrong = 0
    for target in (entry(filled), blob_of(filled, entry(filled)), largest(filled)):
        whole = target.read_bytes()
        steps = range(0, len(whole), max(1, len(whole) // 25))
        for at in steps:
            for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole + b"x"):
                overwrite(target, damaged)
                states = machine(f"m{tried}").build(Folder(filled), Keys())  # asserts the right bytes
                tried += 1
                wrong += states[0] not in ("done", "cached")
        overwrite(target, whole)
    print(f"{tried} kinds of damage, {wrong} led to wrong bytes")
    assert wrong == 0


def test_an_entry_for_another_action_is_not_used(filled: Path, machine: Callable[[str], Machine]) -> None:
    overwrite(entry(filled), entry(filled, "join").read_bytes())
    second = machine("second")
    assert second.build(Folder(filled), Keys())[0] == "done"
    assert any("another action" in note for note in second.notes)


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("files", {"../../x": ["0" * 64, 1]}, "the path"),
        ("files", {"/etc/x": ["0" * 64, 1]}, "the path"),
        ("files", {"a/./b": ["0" * 64, 1]}, "the path"),
        ("files", {"a\0": ["0" * 64, 1]}, "the path"),
        ("files", {"a": ["../../../etc/passwd", 1]}, "the digest"),
        ("files", {"a": ["0" * 64, -1]}, "the size"),
        ("files", {"a": ["0" * 64, True]}, "the size"),
        ("files", {"a": ["0" * 64, 1 << 40]}, "larger"),
        ("files", {"a": ["0" * 64, 1], "b": ["0" * 64, 2]}, "two sizes"),
        ("files", {"a": ["0" * 64, 1]}, "lacks the file"),
        ("files", ["a"], "cannot be read"),
        ("seconds", -1, "larger"),
        ("seconds", "soon", "cannot be read"),
        ("format", "sprue-remote-cache 2", "format"),
        ("parts", {}, "another action"),
        ("key", "0" * 64, "another action"),
    ],
)
def test_a_hostile_record_is_said_and_not_used(
    filled: Path, machine: Callable[[str], Machine], field: str, value: object, word: str
) -> None:
    said = parse(raw_record(filled, entry(filled)).encode())
    said["record"][field] = value
    said["sha256"] = digest(canonical(said["record"]))
    replace_record(filled, entry(filled), canonical(said).decode())
    second = machine("second")
    assert second.build(Folder(filled), Keys())[0] == "done"
    assert any(word in note for note in second.notes), second.notes


def test_a_blob_that_never_ends_is_cut_off_at_its_size(
    filled: Path, machine: Callable[[str], Machine]
) -> None:
    class Endless(Folder):
        taken = 0

        def get(self, what: Descriptor, start: int = 0) -> Stream:
            return super().get(what, start) if what.is_manifest else self._forever()

        def _forever(self) -> Stream:
            while True:
                self.taken += 1 << 16
                yield bytes(1 << 16)

    place = Endless(filled)
    assert machine("second").build(place, Keys())[0] == "done"
    assert place.taken < 1 << 20


@pytest.mark.parametrize("at", ["ref", "stream"])
def test_a_remote_that_hangs_is_left_alone_after_a_few_failures(
    filled: Path, machine: Callable[[str], Machine], at: str
) -> None:
    class Hanging(Folder):
        asked = 0

        def resolve(self, ref: str) -> Descriptor | None:
            self.asked += 1
            if at == "ref":
                time.sleep(60)
            return Descriptor(MANIFEST, "a" * 64, 1000)

        def get(self, what: Descriptor, start: int = 0) -> Stream:
            return self._trickle()

        def _trickle(self) -> Stream:
            while True:
                time.sleep(0.05)
                yield b" "

    place, second = Hanging(filled), machine("second")
    started = time.monotonic()
    states = second.build(place, Keys(), names="abcdef", grace=0.3)
    assert set(states) == {"done"}
    assert time.monotonic() - started < 30
    assert place.asked <= PATIENCE + 1
    assert "not read from any more in this build" in second.notes[-1]


def test_a_server_that_sends_a_byte_now_and_then_does_not_hold_a_build_up(
    machine: Callable[[str], Machine],
) -> None:
    pytest.importorskip("httpx", reason="sprue[oci] is not installed")
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def trickle(peer: socket.socket) -> None:
        with peer:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
                if ended.wait(0.05):
                    return
                try:
                    peer.send(bytes([byte]))
                except OSError:
                    return

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=trickle, args=(peer,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    second = machine("second")
    try:
        url = f"oci://127.0.0.1:{listener.getsockname()[1]}/cache"
        assert set(second.build(connect(url), Keys(), names="abcd", grace=0.5)) == {"done"}
    finally:
        ended.set()
        listener.close()
    assert "no answer within" in second.notes[0]
    assert "not read from any more" in second.notes[-1]


def test_uploads_that_fail_are_said_and_break_nothing(
    remote: Path, machine: Callable[[str], Machine]
) -> None:
    class Full(Folder):
        def put(self, what: Descriptor, content: Content) -> None:
            raise Unreachable("no space left")

    first = machine("first")
    assert set(first.build(Full(remote), Keys(), write=True, names="abcdef")) == {"done"}
    assert "no space left" in first.notes[0]
    assert "not written to any more" in first.notes[-1]


def test_a_build_that_is_interrupted_does_not_wait_for_its_uploads(
    remote: Path, machine: Callable[[str], Machine]
) -> None:
    class Slow(Folder):
        def put(self, what: Descriptor, content: Content) -> None:
            time.sleep(30)

    first = machine("first")
    first.build(Folder(remote), Keys(), names="ab")
    entries = [first.cache.find(path.stem) for path in first.cache.folder.glob("actions/*/*")]

    def interrupted() -> None:
        with SecondLevel(Slow(remote), first.cache, Keys(), write=True) as shared:
            for entry in entries:
                assert entry is not None
                shared.offer(entry)
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < 2


def test_only_what_the_trusted_key_has_signed_is_used(
    remote: Path, machine: Callable[[str], Machine], key_files: KeyFiles
) -> None:
    (private, public), (other, _) = key_files("ci"), key_files("other")
    reader = read_keys(str(public))
    assert reader.private is None
    for name, writer in (("unsigned", Keys()), ("stranger", read_keys(str(other)))):
        assert machine(name).build(Folder(remote), writer, write=True) == ["done", "done"]
        second = machine(f"reader of {name}")
        assert second.build(Folder(remote), reader) == ["done", "done"]
        assert all("not signed" in note for note in second.notes)
        for path in remote.glob("refs/*"):
            path.unlink()
    signer = read_keys(private.read_text())
    assert machine("ci").build(Folder(remote), signer, write=True) == ["done", "done"]
    assert machine("reader").build(Folder(remote), reader) == ["cached", "cached"]
    assert machine("anyone").build(Folder(remote), Keys()) == ["cached", "cached"]


def test_openssl_agrees_with_the_signature(
    remote: Path, machine: Callable[[str], Machine], key_files: KeyFiles, tmp_path: Path
) -> None:
    private, public = key_files("ci")
    machine("ci").build(Folder(remote), read_keys(str(private)), write=True)
    said = parse(raw_record(remote, entry(remote)).encode())
    (tmp_path / "data").write_bytes(b"sprue remote cache 1\n" + canonical(said["record"]))
    (tmp_path / "signature").write_bytes(bytes.fromhex(said["signature"]))
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(public)]
    done = subprocess.run(
        [*command, "-in", str(tmp_path / "data"), "-sigfile", str(tmp_path / "signature")],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert said["record"]["key"] == digest(canonical(said["record"]["parts"])) == entry(remote).name[7:]
