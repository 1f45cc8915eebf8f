"""Uploads that break off, at a registry that keeps what it got, as distribution-spec 1.1 lets it."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sprue.registry.protocol import Unreachable, connect, describe

pytest.importorskip("httpx", reason="sprue[oci] is not installed")

UPLOAD = "/v2/x/blobs/uploads/1"


class Keeper(ThreadingHTTPServer):
    """Keeps what an upload has sent, also when it breaks off: `breaks` are the bytes after which it hangs
    up."""

    daemon_threads = True

    def __init__(self, breaks: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.breaks = breaks
        self.got = bytearray()
        self.blobs: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    def handle_error(self, *_: object) -> None:
        """Hanging up is on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Keeper

    def do_POST(self) -> None:
        self.server.got.clear()
        self._answer(202, Location=UPLOAD)

    def do_GET(self) -> None:
        self._answer(204, Location=UPLOAD, Range=f"0-{len(self.server.got) - 1}")

    def do_PATCH(self) -> None:
        start = self.headers["Content-Range"].partition("-")[0]
        if int(start) != len(self.server.got):
            self._answer(416)
        elif self._take():
            self._answer(202, Location=UPLOAD)

    def do_PUT(self) -> None:
        if self._take():
            sha = re.sub(".*sha256(:|%3A)", "", self.path)
            right = hashlib.sha256(self.server.got).hexdigest() == sha
            self.server.blobs |= {sha} if right else set()
            self._answer(201 if right else 400)

    def _take(self) -> bool:
        self.server.asked.append((self.command, self.headers.get("Content-Range", "")))
        length = int(self.headers.get("Content-Length", 0))
        some = min(length, self.server.breaks.pop(0)) if self.server.breaks and length else length
        self.server.got += self.rfile.read(some)
        if some < length:
            self.close_connection = True
            self.connection.close()
        return some == length

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def keeper(breaks: list[int]) -> Iterator[Keeper]:
    with Keeper(breaks) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.mark.parametrize("breaks", [[1], [70_000], [2_999_999], [1_000_000, 1, 500_000]])
def test_an_upload_goes_on_at_the_byte_that_the_registry_has(breaks: list[int]) -> None:
    data = os.urandom(3_000_000)
    what = describe("application/octet-stream", data)
    with (
        keeper(list(breaks)) as server,
        closing(connect(f"oci://127.0.0.1:{server.server_port}/x")) as registry,
    ):
        registry.put(what, data)
        assert server.blobs == {what.sha256}
        if breaks == [70_000]:
            assert server.asked == [("PUT", ""), ("PATCH", "70000-2999999"), ("PUT", "")]


def test_an_upload_that_breaks_off_each_time_is_given_up() -> None:
    data = os.urandom(100_000)
    with keeper([10] * 99) as server, closing(connect(f"oci://127.0.0.1:{server.server_port}/x")) as registry:
        with pytest.raises(Unreachable) as failed:
            registry.put(describe("application/octet-stream", data), data)
        assert failed.value.transient
        assert server.blobs == set()
