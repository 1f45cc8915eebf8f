"""A proxy before a real server that lies, breaks off, dawdles, or checks checksums: what real ones do on
bad days."""

from __future__ import annotations

import base64
import hashlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Asked:
    """A request, before it is passed on."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def is_content(self) -> bool:
        return self.method == "GET" and "/blobs/sha256" in self.path


@dataclass(frozen=True)
class Fault:
    """What happens to a request. Bytes of bodies: `keep` only the first, `flip` one, `add` some.

    `status`: answer this instead. `redirect`: send there. `pause`: seconds before each byte of the answer.
    `send_only`: pass on only the first bytes of what is sent, then hang up. `stall`: seconds before the
    answer.
    """

    status: int = 0
    redirect: str = ""
    keep: int = -1
    flip: int = -1
    add: bytes = b""
    pause: float = 0
    stall: float = 0
    send_only: int = -1
    headers: dict[str, str] = field(default_factory=dict)


Judge = Callable[[Asked], Fault | None]


class Proxy(ThreadingHTTPServer):
    """`judge` decides what happens to each request; `asked` are those that came; `checked` counts
    checksums."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str, judge: Judge) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.judge = judge
        self.asked: list[Asked] = []
        self.spoil = False
        self.checked = 0
        self.refused = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Clients hang up; that is what is being tested."""


@contextmanager
def proxy(upstream: str, judge: Judge = lambda _: None) -> Iterator[Proxy]:
    """Before `upstream` (host:port)."""
    with Proxy(upstream, judge) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass_on(self) -> None:
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.server.asked.append(asked)
        fault = self.server.judge(asked) or Fault()
        length = int(self.headers.get("Content-Length", 0))
        time.sleep(fault.stall)
        if fault.send_only >= 0:
            self._send_part(length, fault.send_only)
            return
        body = self.rfile.read(length)
        if self.server.spoil and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault.status or fault.redirect:
            moved = {"Location": fault.redirect} if fault.redirect else {}
            self._answer(fault.status or 307, {**moved, **fault.headers}, b"", fault)
        elif not self._agrees(body):
            self.server.refused += 1
            self._answer(400, {"Content-Type": "application/xml"}, BAD_DIGEST, fault)
        else:
            with closing(http.client.HTTPConnection(self.server.upstream, timeout=60)) as upstream:
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read(), fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def _agrees(self, body: bytes) -> bool:
        """Whether what was sent is what the checksum beside it says: S3 and Artifactory would look."""
        said = self.headers.get("X-Checksum-Sha256") or self.headers.get("x-amz-checksum-sha256")
        if said is None:
            return True
        self.server.checked += 1
        seen = hashlib.sha256(body)
        return said in (seen.hexdigest(), base64.b64encode(seen.digest()).decode())

    def _send_part(self, length: int, count: int) -> None:
        """The first bytes of the body reach the server, then both connections break."""
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(self.rfile.read(min(count, length)))
        time.sleep(0.05)
        upstream.close()
        self.close_connection = True

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        length = len(body) + len(fault.add)
        if self.command == "HEAD":
            length = int(headers.get("Content-Length", headers.get("content-length", 0)))
        if fault.flip >= 0 and body:
            at = fault.flip % len(body)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        body += fault.add
        self.send_response(status)
        for name, value in {**headers, **fault.headers}.items():
            if name.lower() not in HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.keep >= 0 and fault.keep < len(body):
            body, self.close_connection = body[: fault.keep], True
        if fault.pause:
            for i in range(len(body)):
                time.sleep(fault.pause)
                self.wfile.write(body[i : i + 1])
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


BAD_DIGEST = b"<Error><Code>BadDigest</Code><Message>the checksum is another</Message></Error>"
