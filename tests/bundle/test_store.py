"""The store: only whole bundles are ever seen in it, whoever dies or races."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sprue.bundle.check import check_bundle, read_bundle_manifest
from sprue.bundle.store import Store
from sprue.errors import CheckError, SprueError

Freeze = Callable[..., Path]
Keep = Callable[..., Path]

KEEP = """
import shutil, sys
from pathlib import Path
from sprue.bundle.check import read_bundle_manifest
from sprue.bundle.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
with store.staging() as folder:
    shutil.copytree(sys.argv[2], folder, dirs_exist_ok=True)
    print(store.keep(folder, read_bundle_manifest(folder)))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def keep(store: Store, fill: Freeze) -> Keep:
    def keep(**fields: object) -> Path:
        with store.staging() as folder:
            fill(folder, **fields)
            return store.keep(folder, read_bundle_manifest(folder))

    return keep


def seen(store: Store) -> list[str]:
    """What lies in the store beside its blobs."""
    return sorted(p.name for p in store.folder.iterdir() if p.name != ".blobs")


def names(store: Store) -> list[str]:
    return sorted(str(p.relative_to(store.folder)) for p in store.folder.glob("[!.]*/*"))


def test_an_empty_store_lists_nothing_and_says_what_there_is(store: Store, keep: Keep) -> None:
    assert store.bundles() == []
    with pytest.raises(SprueError, match="there is no bundle 'tiny'"):
        store.find("tiny")


def test_a_bundle_is_kept_once(store: Store, keep: Keep) -> None:
    first = keep()
    inode = first.stat().st_ino
    assert keep() == first
    assert first.stat().st_ino == inode
    assert len(store.bundles()) == 1
    assert names(store) == [f"tiny/{first.name}", "tiny/1.0.0.json"]
    assert seen(store) == ["tiny"]
    assert store.check(store.bundles()[0]).files == 7


@pytest.mark.parametrize("how", ["flip", "remove", "extra", "no manifest", "empty"])
def test_a_damaged_bundle_is_replaced_by_the_same_one(store: Store, keep: Keep, how: str) -> None:
    place = keep()
    if how == "flip":
        (place / "model" / "model.onnx").chmod(0o644)
        (place / "model" / "model.onnx").write_bytes(b"THE MODEL")
    elif how == "extra":
        (place / "extra").touch()
    else:
        for path in [p for p in place.rglob("*") if p.is_file()]:
            if how == "empty" or path.name == {"remove": "model.onnx", "no manifest": "manifest.json"}[how]:
                path.unlink()
    with pytest.raises(CheckError):
        check_bundle(place)
    assert keep() == place
    check_bundle(place)
    assert seen(store) == ["tiny"]


def test_the_latest_of_a_version_is_what_its_name_means(store: Store, keep: Keep) -> None:
    first, second = keep(), keep(licenses=["MIT"])
    assert first != second
    found = store.find("tiny@1.0.0")
    assert (found.folder, found.latest) == (second, True)
    assert store.find(f"tiny@1.0.0#{first.name[-12:]}").folder == first
    assert store.find(f"tiny#{first.name[-12:-6]}").folder == first
    assert [s.folder for s in store.bundles()] == [second, first]
    assert keep() == first
    assert store.find("tiny").folder == first


def test_versions_are_in_semantic_order(store: Store, keep: Keep) -> None:
    order = [
        "0.9.0",
        "1.0.0-1",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
    ]
    order += [
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0-rc.9",
        "1.0.0-rc.10",
        "1.0.0",
        "1.2.0",
        "1.10.0",
        "10.0.0",
    ]
    for version in random.Random(0).sample(order, len(order)):
        keep(version=version)
    assert [s.manifest.version for s in store.bundles()] == order
    assert store.find("tiny").manifest.version == "10.0.0"
    assert store.find("tiny@1.0.0-rc.1").manifest.version == "1.0.0-rc.1"


def test_an_id_that_could_mean_two_is_refused(store: Store, keep: Keep) -> None:
    """Two bundles whose ids begin with the same six digits, found by trying some thousands."""
    manifest = read_bundle_manifest(keep())
    seen: dict[str, int] = {}
    for i in range(100_000):
        ident = manifest.model_copy(update={"licenses": [str(i)]}).id()
        if ident[:6] in seen:
            break
        seen[ident[:6]] = i
    twins = [keep(licenses=[str(n)]) for n in (seen[ident[:6]], i)]
    with pytest.raises(SprueError, match="is the beginning of 2 ids"):
        store.find(f"tiny#{ident[:6]}")
    assert store.find(f"tiny@1.0.0#{ident}").folder == twins[1]


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("tiny@1.0.1", "did you mean 'tiny@1.0.0'?"),
        ("tinny@1.0.0", "did you mean 'tiny@1.0.0'?"),
        ("tiny#000000", "allowed: tiny@1.0.0"),
        ("tiny@1.0.0#000000", "tiny@1.0.0"),
        ("*", "write name@version"),
        ("../tiny", "write name@version"),
        ("tiny@", "write name@version"),
        ("tiny#12345", "write name@version"),
        ("", "write name@version"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(
    store: Store, keep: Keep, reference: str, hint: str
) -> None:
    keep()
    with pytest.raises(SprueError) as caught:
        store.find(reference)
    assert hint in caught.value.remedy


def test_one_damaged_bundle_does_not_hide_others(store: Store, keep: Keep) -> None:
    (keep(name="broken") / "manifest.json").write_text("{")
    good = keep()
    assert store.find("tiny").folder == good
    with pytest.raises(CheckError):
        store.find("broken")


def test_what_is_being_staged_is_never_listed(store: Store, fill: Freeze, keep: Keep) -> None:
    with store.staging() as folder:
        fill(folder)
        fill(folder / "a-b")
        assert store.bundles() == []
        keep(name="other")
        assert [s.manifest.name for s in store.bundles()] == ["other"]
        assert folder.exists(), "another process's staging does not sweep the living"


def test_an_error_while_freezing_leaves_nothing(store: Store, fill: Freeze) -> None:
    with pytest.raises(ValueError, match="no place"), store.staging() as folder:  # noqa: PT012  # its end counts
        fill(folder)
        fill(folder, {"stray": b"x"})
    assert seen(store) == []


def start(store: Store, bundle: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KEEP, str(store.folder), str(bundle)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_two_processes_may_keep_the_same_bundle_at_once(
    store: Store, keep: Keep, bundle: Path, damaged: bool
) -> None:
    if damaged:
        (keep() / "extra").touch()
    together = [start(store, bundle) for _ in range(3)]
    for process in together:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    places = {process.communicate(timeout=60)[0].strip() for process in together}
    assert [p.returncode for p in together] == [0] * 3
    assert len(places) == 1
    check_bundle(Path(places.pop()))
    assert seen(store) == ["tiny"]


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 5))])
def test_a_killed_freeze_leaves_no_half_bundle_visible(
    store: Store, tmp_path: Path, fill: Freeze, seed: int
) -> None:
    big = fill(tmp_path / "big", {f"model/{i}": bytes([i]) * 200_000 for i in range(20)})
    rng = random.Random(seed)
    for _ in range(4):
        process = start(store, big)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(rng.uniform(0, 0.12))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        for stored in store.bundles():
            store.check(stored)
    last = start(store, big)
    out, _ = last.communicate("\n", timeout=60)
    assert check_bundle(Path(out.strip()))
    assert seen(store) == ["tiny"]


def test_a_version_of_which_only_parts_were_built_is_named_by_its_parts(store: Store, fill: Freeze) -> None:
    with store.staging() as staged:
        manifest = read_bundle_manifest(fill(staged))
        store.keep(staged, manifest, latest=False)
    with pytest.raises(SprueError, match=r"no whole build 'tiny@1\.0\.0', only parts") as raised:
        store.find("tiny@1.0.0")
    named = raised.value.remedy.removeprefix("name one: ")
    assert store.find(named).id == manifest.id()
