"""A registry on a bad day: what it breaks off is continued, what it gives wrong is refused, and it gets no
password.

Each test prints how many faults were tried.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from sprue.bundle.check import check_bundle
from sprue.bundle.store import Store
from sprue.errors import CheckError
from sprue.registry.patience import Retrying, Timed
from sprue.registry.protocol import Registry, Unreachable, connect, describe
from sprue.registry.publish import publish
from sprue.registry.pull import find, pull_bundle

from .proxy import Asked, Fault, Judge, Proxy, proxy

pytestmark = pytest.mark.slow

Bad = Callable[[Judge], Registry]


@pytest.fixture(params=["oci", "http"])
def before(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Proxy]]:
    """The URL of an empty repository behind a proxy, and the proxy. It is logged in there."""
    url = request.getfixturevalue(f"{request.param}_url")
    scheme, _, host = url.partition("://")
    with proxy(host) as made:
        (tmp_path / "config.json").write_text(json.dumps({"auths": {made.host: {"auth": "Y2k6c2VjcmV0"}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        yield f"{scheme}://{made.host}/{uuid4().hex}", made


def quick(url: str) -> Registry:
    """As a user's, but for the waiting."""
    return Retrying(Timed(connect(url), grace=10), pause=0.001)


def store_of(registry: Registry, folder: Path) -> Path:
    """Pull into a new store. What is in it then is right, or nothing is."""
    store = Store(folder)
    try:
        received = pull_bundle(registry, find(registry, "1.0.0"), store)
        return received.folder
    finally:
        for stored in store.bundles():
            check_bundle(stored.folder, stored.id)


def _at(path: str, fault: Fault, asked: Asked) -> Fault | None:
    return fault if asked.path == path else None


def once(fault: Fault, when: Callable[[Asked], bool]) -> Judge:
    """The fault happens to the first such request."""
    left = [fault]
    return lambda asked: left.pop() if left and when(asked) else None


def test_a_download_that_breaks_off_at_any_byte_is_continued(
    before: tuple[str, Proxy], bundle: Path, tmp_path: Path
) -> None:
    url, server = before
    with closing(quick(url)) as registry:
        publish(bundle, registry)
        size = (bundle / "targets/phone/artifact/model.tflite").stat().st_size
        cuts = [
            0,
            1,
            2,
            1000,
            65_535,
            65_536,
            65_537,
            size // 2,
            size - 1,
            *random.Random(4).sample(range(size), 5),
        ]
        for number, cut in enumerate(cuts):
            server.asked.clear()
            server.judge = once(
                Fault(keep=cut), lambda a: a.is_content and "range" not in a.headers and big(a)
            )
            store_of(registry, tmp_path / str(number))
            continued = [a.headers["range"] for a in server.asked if "range" in a.headers]
            assert continued == ([f"bytes={cut}-"] if cut else []), cut
    print(f"{len(cuts)} downloads broken off, each continued at its byte")


def big(asked: Asked) -> bool:
    """The largest file of the bundle."""
    sha = describe("", b"the artifact" * 50_000).sha256
    return asked.path.endswith(sha)


def test_every_answer_that_breaks_off_or_fails_for_a_while_is_asked_for_again(
    before: tuple[str, Proxy], bundle: Path, tmp_path: Path
) -> None:
    url, server = before
    tried = 0
    for fault in (Fault(status=500), Fault(status=429), Fault(keep=0)):
        for when in ("GET", "HEAD", "PUT", "POST"):
            left = random.Random(tried).randrange(6)

            def judge(asked: Asked, fault: Fault = fault, when: str = when) -> Fault | None:
                nonlocal left, tried
                if asked.method != when:
                    return None
                left -= 1
                tried += left == -1
                return fault if left == -1 else None

            server.judge = judge
            with closing(quick(f"{url}{tried}{when.lower()}")) as registry:
                publish(bundle, registry)
                store_of(registry, tmp_path / f"{fault.status}{when}{left}")
    print(f"{tried} failures in passing, each overcome")
    assert tried >= 8


def test_what_is_given_wrong_is_never_taken(before: tuple[str, Proxy], bundle: Path, tmp_path: Path) -> None:
    url, server = before
    with closing(quick(url)) as registry:
        publish(bundle, registry)
        store_of(registry, tmp_path / "right")
        empty = describe("", b"").sha256  # of nothing, no bit can be wrong
        paths = {a.path for a in server.asked if a.method == "GET" and re.search("sha256[:/]", a.path)}
        paths = {path for path in paths if not path.endswith(empty)}
        lie = Fault(headers={"Content-Range": "bytes 0-1/2"}, status=206)
        faults = [Fault(flip=7919), Fault(add=b"x"), Fault(add=bytes(1 << 20)), Fault(status=404), lie]
        tried = refused = 0
        for path in sorted(paths):
            for fault in faults:
                server.judge = partial(_at, path, fault)
                tried += 1
                with pytest.raises(CheckError):
                    store_of(registry, tmp_path / f"store{tried}")
                assert Store(tmp_path / f"store{tried}").bundles() == []
                refused += 1
    print(f"{tried} wrong answers to {len(paths)} requests, {refused} refused")
    assert refused >= 8 * len(faults)


def test_credentials_do_not_follow_a_redirection_to_another_host(
    before: tuple[str, Proxy], bundle: Path, tmp_path: Path
) -> None:
    url, server = before
    with proxy(server.upstream) as elsewhere, closing(quick(url)) as registry:
        publish(bundle, registry)
        server.judge = lambda a: Fault(redirect=f"http://{elsewhere.host}{a.path}") if a.is_content else None
        with pytest.raises(CheckError):  # the other host wants a password too, and gets none
            store_of(registry, tmp_path / "store")
        assert elsewhere.asked
        assert all("authorization" not in a.headers for a in elsewhere.asked)
    print(f"{len(elsewhere.asked)} requests sent on, none with credentials")


@pytest.mark.parametrize(
    "location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "https://127.0.0.1:1/x", "/again", "http://[", ""]
)
def test_a_redirection_that_leads_nowhere_is_refused(
    before: tuple[str, Proxy], bundle: Path, tmp_path: Path, location: str
) -> None:
    url, server = before
    with closing(Retrying(connect(url), attempts=1)) as registry:
        publish(bundle, registry)
        server.judge = lambda a: Fault(status=307, headers={"Location": location}) if a.is_content else None
        with pytest.raises(CheckError):
            store_of(registry, tmp_path / "store")


@pytest.mark.parametrize("fault", [Fault(pause=0.02), Fault(stall=5)], ids=["drips", "hangs"])
def test_a_registry_that_dawdles_is_given_up(
    before: tuple[str, Proxy], bundle: Path, tmp_path: Path, fault: Fault
) -> None:
    url, server = before
    with closing(connect(url)) as plain:
        publish(bundle, plain)
        server.judge = lambda a: fault if a.is_content else None
        registry = Retrying(Timed(plain, grace=0.3), attempts=2, pause=0.001)
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"too slow|no answer within"):
            store_of(registry, tmp_path / "store")
        assert time.monotonic() - began < 60  # it would be hours


def test_an_upload_that_breaks_off_at_any_byte_is_sent_in_the_end(
    before: tuple[str, Proxy], bundle: Path, tmp_path: Path
) -> None:
    url, server = before
    size = (bundle / "targets/phone/artifact/model.tflite").stat().st_size
    cuts = [0, 1, 65_536, size // 2, size - 1, *random.Random(5).sample(range(size), 3)]
    for number, cut in enumerate(cuts):
        server.judge = once(
            Fault(send_only=cut), lambda a: a.method == "PUT" and int(a.headers["content-length"]) == size
        )
        with closing(quick(f"{url}-{number}")) as registry:
            publish(bundle, registry)
            store_of(registry, tmp_path / str(number))
    print(f"{len(cuts)} uploads broken off, each sent in the end")
