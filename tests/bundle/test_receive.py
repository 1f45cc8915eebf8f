"""Importing an archive: the bundle that was exported, or nothing at all."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sprue.bundle.archive import Layout, export_bundle
from sprue.bundle.check import check_bundle
from sprue.bundle.manifest import MANIFEST, SUMS, read_manifest
from sprue.bundle.receive import import_archive, import_folder
from sprue.bundle.store import Store
from sprue.errors import CheckError, SprueError

Freeze = Callable[..., Path]
Change = Callable[[tarfile.TarInfo], None]

IMPORT = """
import sys
from io import FileIO
from pathlib import Path
from sprue.bundle.receive import import_archive
from sprue.bundle.store import Store
print("ready", flush=True)
sys.stdin.readline()
print(import_archive(FileIO(sys.argv[2]), Store(Path(sys.argv[1])), "here").folder)
"""


def archive(folder: Path, seconds: int = 0) -> bytes:
    out = io.BytesIO()
    export_bundle(folder, out, seconds)
    return out.getvalue()


def left(store: Store) -> list[str]:
    """Everything in a store."""
    return sorted(str(p.relative_to(store.folder)) for p in store.folder.rglob("*"))


def refused(data: bytes) -> str:
    """Why an archive is refused. Nothing may be left of it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        with pytest.raises(CheckError) as caught:
            import_archive(io.BytesIO(data), store, "here")
        assert left(store) == []
        assert [p.name for p in Path(folder).iterdir()] in ([], ["store"])
        return caught.value.what


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, fill: Freeze) -> bytes:
    """An archive of a bundle with paths that need a pax header."""
    folder = tmp_path_factory.mktemp("good")
    return archive(fill(folder, {"model/" + "l" * 120: b"long", "model/ü": b"x" * 600}))


def repacked(data: bytes, edit: Callable[[list[tuple[tarfile.TarInfo, bytes]]], object]) -> bytes:
    """The archive with its members changed by `edit`, as tarfile writes them."""
    with tarfile.open(fileobj=io.BytesIO(data)) as source:
        members = [(m, f.read() if (f := source.extractfile(m)) else b"") for m in source.getmembers()]
    edit(members)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as sink:
        for info, content in members:
            sink.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def test_what_is_exported_is_imported(good: bytes, store: Store) -> None:
    received = import_archive(io.BytesIO(good), store, "here")
    assert (received.new, received.latest) == (True, True)
    assert check_bundle(received.folder, received.manifest.id())
    assert archive(store.find("tiny@1.0.0").folder) == good
    again = import_archive(io.BytesIO(good), store, "here")
    assert (again.folder, again.new, again.latest) == (received.folder, False, True)


def test_an_archive_that_was_repacked_alike_is_the_same_archive(good: bytes) -> None:
    """So that `repacked` changes what a test says, and nothing else."""
    assert repacked(good, lambda _: None) == good


def test_an_archive_may_come_through_a_pipe_in_pieces(good: bytes, store: Store) -> None:
    class Slow(io.BytesIO):
        def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # narrower on purpose
            return super().readinto(buffer[:777])

    assert import_archive(Slow(good), store, "here").new


def test_another_bundle_of_the_same_version_does_not_take_its_name(
    good: bytes, store: Store, tmp_path: Path, fill: Freeze
) -> None:
    first = import_archive(io.BytesIO(good), store, "here")
    other = archive(fill(tmp_path / "other"))
    second = import_archive(io.BytesIO(other), store, "here")
    assert (second.new, second.latest) == (True, False)
    assert store.find("tiny@1.0.0").folder == first.folder
    assert store.find(f"tiny@1.0.0#{second.manifest.id()[:12]}").folder == second.folder


def test_the_id_that_was_told_is_the_id_that_is_taken(good: bytes, store: Store) -> None:
    ident = import_archive(io.BytesIO(good), store, "here").manifest.id()
    assert not import_archive(io.BytesIO(good), store, "here", ident).new
    with pytest.raises(CheckError, match=f"not {'0' * 64}"):
        import_archive(io.BytesIO(good), Store(store.folder / "other"), "here", "0" * 64)


def after(index: int, *more: tuple[tarfile.TarInfo, bytes]) -> Callable[[list[object]], None]:
    def edit(members: list[object]) -> None:
        members[index:index] = more

    return edit


TOP = "tiny-1.0.0-000000000000"
HOSTILE = {
    "absolute path": after(4, member("/etc/cron.d/x", b"x")),
    "path that leaves": after(4, member("../../x", b"x")),
    "path that leaves from within": after(4, member(f"{TOP}/bundle/../../x", b"x")),
    "link to a file": after(4, member(f"{TOP}/bundle/x", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "link to a folder": after(3, member(f"{TOP}/bundle/model", type=tarfile.SYMTYPE, linkname="/tmp")),
    "hard link": after(4, member(f"{TOP}/bundle/x", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
    "character device": after(4, member(f"{TOP}/x", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "block device": after(4, member(f"{TOP}/x", type=tarfile.BLKTYPE, devmajor=8)),
    "fifo": after(4, member(f"{TOP}/x", type=tarfile.FIFOTYPE)),
    "folder": after(0, member(TOP, type=tarfile.DIRTYPE)),
    "file of another folder": after(4, member("other/bundle/x", b"x")),
    "extra file at the end": after(99, member(f"{TOP}/bundle/zzz", b"x")),
    "pax size": after(3, member(f"{TOP}/x", b"x", pax_headers={"size": "99999999999"})),
    "pax path": after(3, member("x", b"x", pax_headers={"path": "/etc/passwd"})),
    "sparse file": after(4, member(f"{TOP}/x", b"\0" * 512, type=tarfile.GNUTYPE_SPARSE)),
    "other case of a name": after(6, member(f"{TOP}/bundle/MODEL/MODEL.ONNX", b"x")),
    "install.sh twice": lambda members: members.insert(3, members[2]),
    "a file twice": lambda members: members.insert(4, members[4]),
    "the manifest twice": lambda members: members.insert(1, members[0]),
    "no install.sh": lambda members: members.pop(2),
    "no sums": lambda members: members.pop(1),
    "no manifest": lambda members: members.pop(0),
    "a file less": lambda members: members.pop(5),
    "the last file less": lambda members: members.pop(),
    "another order": lambda members: members.insert(3, members.pop()),
    "another install.sh": lambda members: members.__setitem__(
        2, (members[2][0], members[2][1].replace(b"fail", b"true"))
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(good: bytes, what: str) -> None:
    assert refused(repacked(good, HOSTILE[what]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", 0o4755), ("mode", 0o777), ("uid", 1000), ("gid", 1), ("uname", "root"), ("gname", "root"),
        ("mtime", 1), ("mtime", -1), ("mtime", 2**40), ("mtime", 0.5), ("linkname", "/etc/passwd"),
        ("type", tarfile.CONTTYPE), ("type", tarfile.AREGTYPE), ("devmajor", 1),
        ("pax_headers", {"comment": "x"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("index", [0, 1, 2, 3, 4, -1])
def test_any_other_field_of_a_header_is_refused(good: bytes, index: int, field: str, value: object) -> None:
    def edit(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        setattr(members[index][0], field, value)

    try:
        changed = repacked(good, edit)
    except ValueError:
        return  # such a header cannot be written
    assert changed == good or refused(changed)


def test_what_was_found_is_named(good: bytes) -> None:
    assert "a link 'tiny-1.0.0-000000000000/bundle/x'" in refused(repacked(good, HOSTILE["link to a file"]))
    assert "a device" in refused(repacked(good, HOSTILE["character device"]))
    assert "'/etc/cron.d/x'" in refused(repacked(good, HOSTILE["absolute path"]))
    assert "a compressed file" in refused(b"\x1f\x8b" + bytes(2000))


def test_an_archive_that_ends_early_is_refused_wherever_it_ends(good: bytes) -> None:
    cuts = {*range(0, 1100, 61), *range(0, len(good), 211), *range(len(good) - 1100, len(good), 97)}
    for cut in cuts:
        assert refused(good[:cut])
    assert len(cuts) > 60


@pytest.mark.parametrize("tail", [b"\0", b"x", bytes(512), bytes(10240), b"x" * 10240])
def test_what_stands_after_the_end_is_refused(good: bytes, tail: bytes) -> None:
    assert "something stands after its last file" in refused(good + tail)


def test_a_size_that_lies_is_refused_before_anything_is_read(good: bytes) -> None:
    """A header that claims terabytes, or a manifest that does: bombs have nothing to unfold."""
    with tarfile.open(fileobj=io.BytesIO(good)) as source:
        manifest = read_manifest(source.extractfile(source.getmembers()[0]).read(), "")  # type: ignore[union-attr]
    for index in range(4):
        out = bytearray(good)
        with tarfile.open(fileobj=io.BytesIO(good)) as source:
            offset = source.getmembers()[index].offset
        info = tarfile.TarInfo.frombuf(bytes(out[offset : offset + 512]), "utf-8", "strict")
        info.size = 2**40
        out[offset : offset + 512] = info.tobuf(tarfile.GNU_FORMAT)[:512]
        assert refused(bytes(out))
    huge = manifest.model_copy(
        update={"files": [f.model_copy(update={"size": 2**40}) for f in manifest.files]}
    )
    layout = Layout(huge, None)
    out = bytearray()
    contents = (huge.to_bytes(), layout.sums, layout.install)
    for told, content in zip(layout.head(), contents, strict=True):
        out += told.header(0) + content + bytes(told.padding)
    first = next(layout.rest())
    assert "ends within" in refused(bytes(out) + first.header(0) + bytes(1000))


@given(st.data())
def test_no_mutation_is_accepted(good: bytes, data: st.DataObject) -> None:
    """Bytes changed, cut, doubled, moved: refused, and nothing of it left."""
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        size = data.draw(st.sampled_from([1, 2, 100, 512, 1024]))
        kind = data.draw(st.sampled_from(["flip", "set", "cut", "double", "move", "zero"]))
        part = bytes(changed[at : at + size])
        if kind == "flip":
            changed[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            changed[at : at + 2] = data.draw(st.binary(min_size=1, max_size=4))
        elif kind == "cut":
            del changed[at : at + size]
        elif kind == "double":
            changed[at:at] = part
        elif kind == "zero":
            changed[at : at + size] = bytes(len(part))
        else:
            del changed[at : at + size]
            to = data.draw(st.integers(0, len(changed)))
            changed[to:to] = part
        if not changed:
            break
    assert bytes(changed) == good or refused(bytes(changed))


@given(st.binary(max_size=1200))
@example(bytes(10240))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert refused(data)


def test_one_time_for_all_is_all_that_may_differ(bundle: Path) -> None:
    data = archive(bundle, 86400)
    with tempfile.TemporaryDirectory() as folder:
        received = import_archive(io.BytesIO(data), Store(Path(folder)), "here")
        assert check_bundle(received.folder).id == check_bundle(bundle).id


def test_a_folder_is_imported_as_it_is_or_not_at_all(bundle: Path, store: Store) -> None:
    received = import_folder(bundle, store)
    assert check_bundle(received.folder).id == check_bundle(bundle).id
    assert not received.folder.joinpath(MANIFEST).samefile(bundle / MANIFEST)
    (bundle / "model" / "model.onnx").write_bytes(b"THE MODEL")
    other = Store(store.folder.with_name("other"))
    with pytest.raises(CheckError, match="damaged"):
        import_folder(bundle, other)
    (bundle / SUMS).unlink()
    with pytest.raises(CheckError):
        import_folder(bundle, other)
    assert left(other) == []


def test_a_store_that_cannot_be_written_is_said_to_be_so(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SprueError, match="cannot import the bundle"):
        import_archive(io.BytesIO(good), Store(tmp_path / "file"), "here")


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 6))])
def test_a_killed_import_leaves_nothing_visible_and_the_next_one_clears_up(
    store: Store, tmp_path: Path, fill: Freeze, seed: int
) -> None:
    big = fill(tmp_path / "big", {f"model/{i:02}": bytes([i]) * 400_000 for i in range(40)})
    path = tmp_path / "big.tar"
    path.write_bytes(archive(big))
    rng = random.Random(seed)
    killed = 0
    for i in range(5):
        process = _start(store, path)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(rng.uniform(0, 0.03 * i))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        killed += not out
        for stored in store.bundles():
            store.check(stored)
    assert killed
    last = _start(store, path)
    out, _ = last.communicate("\n", timeout=60)
    assert check_bundle(Path(out.strip())).id == check_bundle(big).id
    assert not list(store.folder.glob(".staging-*"))


def _start(store: Store, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", IMPORT, str(store.folder), str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_a_large_archive_is_imported_in_little_memory(store: Store, tmp_path: Path, fill: Freeze) -> None:
    big = fill(tmp_path / "big", {"model/big": bytes(300 << 20)})
    path = tmp_path / "big.tar"
    with path.open("wb") as out:
        export_bundle(big, out, 0)
    script = IMPORT.replace('print("ready", flush=True)\nsys.stdin.readline()\n', "") + (
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
    )  # not getrusage: its maximum begins with that of the process that forked this one
    done = subprocess.run(
        [sys.executable, "-c", script, store.folder, path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 64 * 1024
