"""S3 and Artifactory hold what they are sent against a checksum beside it: here a proxy does, for neither
moto nor nginx looks. It finds what was changed on the way, and misses no upload."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from sprue.bundle.store import Store
from sprue.errors import CheckError
from sprue.registry.patience import Retrying
from sprue.registry.protocol import connect, describe
from sprue.registry.publish import publish
from sprue.registry.pull import find, pull_bundle

from .proxy import Asked, Fault, Proxy, proxy

pytestmark = pytest.mark.slow


@pytest.fixture(params=["s3", "http"])
def before(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Proxy]]:
    url = request.getfixturevalue(f"{request.param}_url")
    if request.param == "http":
        with proxy(url.removeprefix("http://")) as server:
            yield f"http://{server.host}/{uuid4().hex}", server
    else:
        with proxy(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.host}")
            yield f"{url}/{uuid4().hex}", server


def sends(asked: Asked) -> bool:
    return asked.method == "PUT" and int(asked.headers.get("content-length", 0)) > 0


def test_every_upload_carries_a_checksum_that_holds(
    before: tuple[str, Proxy], bundle: Path, tmp_path: Path
) -> None:
    url, server = before
    with closing(connect(url)) as registry:
        publish(bundle, registry)
        data = os.urandom(20_000_000)
        what = describe("application/octet-stream", data)
        registry.put(what, data)
        assert b"".join(registry.get(what)) == data
        pull_bundle(registry, find(registry, "1.0.0"), Store(tmp_path / "store"))
    sent = sum(sends(asked) for asked in server.asked)
    print(f"{server.checked} checksums looked at, {server.refused} wrong")
    assert (server.checked >= sent > 10, server.refused) == (True, 0)


def test_what_was_changed_on_the_way_is_not_kept(before: tuple[str, Proxy], bundle: Path) -> None:
    url, server = before
    server.spoil = True
    with closing(Retrying(connect(url), attempts=2, pause=0.001)) as registry:
        with pytest.raises(CheckError):
            publish(bundle, registry)
        assert server.refused > 0
        server.spoil = False
        assert registry.resolve("1.0.0") is None
        assert publish(bundle, registry).new


def test_an_upload_in_parts_that_died_goes_on_with_the_parts_that_are_there(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(20 << 20)
    what = describe("application/octet-stream", data)
    with proxy(os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.host}")
        with closing(connect(f"{s3_url}/{uuid4().hex}")) as registry:
            server.judge = lambda a: Fault(status=400) if "partNumber=3" in a.path else None
            with pytest.raises(CheckError):
                registry.put(what, data)
            assert not registry.has(what)
            server.judge = lambda _: None
            server.asked.clear()
            registry.put(what, data)
            assert b"".join(registry.get(what)) == data
    parts = [a.path for a in server.asked if "partNumber" in a.path]
    assert len(parts) == 1
    assert "partNumber=3" in parts[0]
