"""Publishers and pullers that are killed, that race, and what they leave: nothing half visible, nothing
lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from sprue.bundle.check import check_bundle
from sprue.bundle.collect import collect
from sprue.bundle.store import Store
from sprue.registry.protocol import connect
from sprue.registry.publish import publish
from sprue.registry.pull import find

from .proxy import Asked, Fault, proxy

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
SPRUE = [sys.executable, "-m", "sprue"]


@pytest.fixture
def large(make: Make) -> Path:
    """A bundle of 24 files, 12 MB."""
    return make("large", {f"model/{i:02}.bin": os.urandom(500_000) for i in range(24)})


def killed_after(command: list[str], host: str, when: Callable[[Asked], bool], count: int) -> tuple[int, int]:
    """Run a command until it has asked `count` such things of the registry, then kill -9; its code, and what
    it had asked. Every such answer takes a moment longer, so that it is in the midst of something."""
    reached = threading.Event()
    seen = 0

    def judge(asked: Asked) -> Fault | None:
        nonlocal seen
        seen += when(asked)
        if seen >= count:
            reached.set()
            return Fault(stall=0.3)
        return None

    with proxy(host, judge) as server:
        process = subprocess.Popen(
            [a.replace("HOST", server.host) for a in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not reached.wait(0.01) and process.poll() is None:
            pass
        process.kill()
        return process.wait(), seen


@pytest.fixture
def place(http_url: str) -> tuple[str, str]:
    """A web server's host, and an empty repository on it."""
    return http_url.removeprefix("http://"), uuid4().hex


def test_a_publisher_killed_anywhere_leaves_no_version_and_the_next_one_sends_only_the_rest(
    place: tuple[str, str], large: Path, tmp_path: Path
) -> None:
    host, name = place
    put = 0
    killed = 0
    url = f"http://{host}/{name}"
    for count in (1, 4, 6, 7, 9):
        code, _ = killed_after(
            [*SPRUE, "publish", str(large), f"http://HOST/{name}"], host, lambda a: a.method == "PUT", count
        )
        killed += code == -signal.SIGKILL
        with closing(connect(url)) as registry:
            assert registry.resolve("1.0.0") is None
    with proxy(host) as server, closing(connect(f"http://{server.host}/{name}")) as registry:
        published = publish(large, registry)
        assert published.new
        assert find(registry, "1.0.0").manifest == published.manifest
        put = sum(a.method == "PUT" and "/blobs/" in a.path for a in server.asked)
    stored = len(list_blobs(url, large))
    print(f"{killed} publishers killed; the next one sent {put} of {stored} contents")
    assert killed == 5
    assert put <= stored - 10


def list_blobs(url: str, bundle: Path) -> set[str]:
    from sprue.registry.publish import pack_folder

    image = pack_folder(bundle, check_bundle(bundle).manifest)
    digests = (
        {b.what.sha256 for b in image.blobs}
        | {w.sha256 for w, _ in image.manifests}
        | {image.index[0].sha256}
    )
    with closing(connect(url)) as registry:
        assert all(registry.has(b.what) for b in image.blobs)
    return digests


def test_a_pull_killed_anywhere_shows_nothing_and_the_next_one_fetches_only_the_rest(
    place: tuple[str, str], large: Path, tmp_path: Path
) -> None:
    host, name = place
    with closing(connect(f"http://{host}/{name}")) as registry:
        publish(large, registry)
    store = Store(tmp_path / "store")
    command = [*SPRUE, "pull", f"http://HOST/{name}:1.0.0", "--store", str(store.folder)]
    content = re.compile("/blobs/sha256/")
    for count in (1, 3, 8, 12, 20):
        code, _ = killed_after(
            command, host, lambda a: a.method == "GET" and bool(content.search(a.path)), count
        )
        assert code == -signal.SIGKILL
        assert store.bundles() == []
    with proxy(host) as server:
        done = subprocess.run(
            [a.replace("HOST", server.host) for a in command], check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        fetched = sum(a.method == "GET" and bool(content.search(a.path)) for a in server.asked)
    (stored,) = store.bundles()
    check_bundle(stored.folder, check_bundle(large).id)
    print(f"5 pulls killed; the next one asked for {fetched} contents, of {len(stored.manifest.files)} files")
    assert fetched < len(stored.manifest.files)
    assert not list(store.folder.glob(".pull-*"))


def test_what_a_dead_pull_left_is_collected_and_that_of_a_living_one_stays(
    place: tuple[str, str], large: Path, tmp_path: Path
) -> None:
    host, name = place
    with closing(connect(f"http://{host}/{name}")) as registry:
        publish(large, registry)
    store = Store(tmp_path / "store")
    command = [*SPRUE, "pull", f"http://HOST/{name}:1.0.0", "--store", str(store.folder)]
    with proxy(host, lambda a: Fault(stall=0.4) if a.method == "GET" else None) as server:
        process = subprocess.Popen(
            [a.replace("HOST", server.host) for a in command], stdout=subprocess.DEVNULL
        )
        while not list(store.folder.glob(".pull-*/bundle/model")):
            time.sleep(0.02)
        collect(store)
        assert list(store.folder.glob(".pull-*/bundle"))
        process.kill()
        process.wait()
    collect(store)
    assert not list(store.folder.glob(".pull-*"))


@pytest.mark.parametrize("kind", ["folder", "oci"])
def test_of_eight_processes_that_publish_one_version_one_wins_and_seven_are_told(
    request: pytest.FixtureRequest, make: Make, tmp_path: Path, kind: str
) -> None:
    if kind == "folder":
        url = str(tmp_path / "registry")
    else:
        url = f"{request.getfixturevalue(f'{kind}_url')}/{uuid4().hex}"
    bundles = [make(f"bundle{i}", {"model/model.onnx": b"%d" % i}) for i in range(8)]
    running = [
        subprocess.Popen(
            [*SPRUE, "publish", str(bundle), url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for bundle in bundles
    ]
    ended = [(process.communicate(timeout=200), process.returncode) for process in running]
    won = [i for i, (_, code) in enumerate(ended) if code == 0]
    told = [said[1] for said, code in ended if code == 1]
    assert (len(won), len(told)) == (1, 7), ended
    assert [said for said in told if "'1.0.0' is published already" not in said] == []
    with closing(connect(url)) as registry:
        assert find(registry, "1.0.0").manifest.id() == check_bundle(bundles[won[0]]).id
