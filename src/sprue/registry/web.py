"""One web server, asked with httpx: streams both ways, and credentials that never leave the host.

Plain HTTP is spoken with this machine only. Redirections of what is read are followed, a few, and without
credentials if they lead elsewhere: what comes has a digest, wherever it comes from.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from sprue.errors import SprueError
from sprue.registry.protocol import MOST_JSON, Absent, Descriptor, Stream, Unreachable

if TYPE_CHECKING:
    import httpx

PATIENCE = 20.0
CONNECT = 5.0
"""Seconds for the next bytes, either way, and for a connection. `patience.Timed` limits the whole."""
REDIRECTIONS = 5
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
Body = Callable[[], Iterable[bytes]]
"""Makes what is sent, again if it must be."""


class Web:
    """`login`: base64 of `name:password` for the host, or "". `advice`: how a user gets one."""

    def __init__(self, host: str, login: Callable[[str], str], advice: str, *, plain: bool = False) -> None:
        import httpx

        if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", host):
            raise SprueError(f"'{host}' is not a host", remedy="write host or host:port")
        if plain and not is_here(host):
            raise SprueError("plain HTTP is spoken with this machine only", where=host, remedy="use https")
        self.host = host
        self.base = f"{'http' if plain else 'https'}://{host}"
        self._login = login
        self._advice = advice
        self._authorization = ""
        self._broken = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL)
        self._transient = (httpx.TransportError, httpx.StreamError)
        self._origin = _origin(httpx.URL(self.base))
        self._client = httpx.Client(
            timeout=httpx.Timeout(PATIENCE, connect=CONNECT), headers={"Accept-Encoding": "identity"}
        )

    def close(self) -> None:
        self._client.close()

    def authorize(self, login: str) -> None:
        """Send these credentials without being asked for them."""
        self._authorization = f"Basic {login}" if login else ""

    def ask(
        self, method: str, url: str, *, content: Body | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """An answer whose body is not read yet. Raises Unreachable. The caller closes it."""
        try:
            for attempt in (1, 2):
                answer = self._send(method, url, content, headers or {})
                if answer.status_code != 401 or attempt == 2 or _origin(answer.url) != self._origin:
                    return answer
                answer.close()
                self._authorization = self._credentials(answer.headers.get("WWW-Authenticate", ""))
        except self._broken as error:
            raise self._failed(error) from error
        raise AssertionError

    def expect(self, answer: httpx.Response, *statuses: int, passing: Collection[int] = ()) -> None:
        """Raises Unreachable for any other status, with what the server said of it. `passing`: further ones
        that may be others if it is asked again."""
        status = answer.status_code
        if status in statuses:
            return
        said = _message(self._some(answer))
        remedy = self._advice if status in (401, 403) else ""
        what = f"{status} {answer.reason_phrase} to {answer.request.method}{said}"
        raise Unreachable(what, where=self.host, remedy=remedy, transient=status in {*TRANSIENT, *passing})

    def found(self, answer: httpx.Response) -> bool:
        """Whether it is there: 200 or 404. Raises Unreachable for any other status."""
        if answer.status_code == 404:
            return False
        self.expect(answer, 200)
        return True

    def get(self, url: str, what: Descriptor, start: int, headers: dict[str, str] | None = None) -> Stream:
        """The bytes at `url` from `start` on. Raises Absent, Unreachable."""
        ranged = {"Range": f"bytes={start}-"} if start else {}
        answer = self.ask("GET", url, headers={**(headers or {}), **ranged})
        try:
            if answer.status_code == 404:
                raise Absent(f"there is no {what.short}", where=self.host)
            if answer.status_code == 416:
                answer.close()
                nothing: tuple[bytes, ...] = ()
                return (piece for piece in nothing)
            self.expect(answer, 200, 206)
            skip = start
            if answer.status_code == 206:
                if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                    raise Unreachable("answered with another range than was asked for", where=self.host)
                skip = 0
        except BaseException:
            answer.close()
            raise
        return self._stream(answer, skip)

    def small(self, answer: httpx.Response) -> bytes:
        """The whole body of an answer. Raises Unreachable if it is large."""
        body = bytearray()
        for piece in self._stream(answer, 0):
            body += piece
            if len(body) > MOST_JSON:
                raise Unreachable(f"an answer of more than {MOST_JSON} bytes", where=self.host)
        return bytes(body)

    def _send(self, method: str, url: str, content: Body | None, headers: dict[str, str]) -> httpx.Response:
        request = self._client.build_request(
            method, url, headers=headers, content=None if content is None else content()
        )
        for _ in range(REDIRECTIONS + 1):
            if self._authorization and _origin(request.url) == self._origin:
                request.headers["Authorization"] = self._authorization
            else:
                request.headers.pop("Authorization", None)
            answer = self._client.send(request, stream=True)
            location = answer.headers.get("Location")
            if (
                method not in ("GET", "HEAD")
                or answer.status_code not in (301, 302, 303, 307, 308)
                or not location
            ):
                return answer
            answer.close()
            url_there = request.url.join(location)
            if url_there.scheme != "https" and (request.url.scheme == "https" or url_there.scheme != "http"):
                raise Unreachable(f"sends on to {url_there.scheme}://{url_there.host}", where=self.host)
            request = self._client.build_request(method, url_there, headers=headers)
        raise Unreachable(f"sends on more than {REDIRECTIONS} times", where=self.host)

    def _credentials(self, challenge: str) -> str:
        """What the server wants to see: the password itself, or a token that it gives for it."""
        scheme, _, rest = challenge.partition(" ")
        login = self._login(self.host)
        if scheme.lower() == "basic" and login:
            return f"Basic {login}"
        words = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in words:
            raise Unreachable("wants credentials", where=self.host, remedy=self._advice)
        realm = self._client.build_request("GET", words.pop("realm"), params=words)
        if realm.url.scheme != "https" and not is_here(realm.url.netloc.decode()):
            raise Unreachable(f"wants a password sent in clear to {realm.url.host}", where=self.host)
        if login:
            realm.headers["Authorization"] = f"Basic {login}"
        with closing(self._client.send(realm, stream=True)) as answer:
            self.expect(answer, 200)
            try:
                said = json.loads(self.small(answer))
                return f"Bearer {said.get('token') or said['access_token']}"
            except (ValueError, KeyError, AttributeError, RecursionError) as error:
                raise Unreachable("gave no token", where=self.host) from error

    def _stream(self, answer: httpx.Response, skip: int) -> Stream:
        """`skip`: bytes to leave out, for a server that cannot begin elsewhere."""
        try:
            for piece in answer.iter_raw():
                if skip < len(piece):
                    yield piece[skip:]
                skip = max(0, skip - len(piece))
        except self._broken as error:
            raise self._failed(error) from error
        finally:
            answer.close()

    def _some(self, answer: httpx.Response) -> bytes:
        try:
            return self.small(answer)
        except Unreachable:
            return b""

    def _failed(self, error: Exception) -> Unreachable:
        transient = isinstance(error, self._transient)
        what = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        remedy = "is the host spelt right, running, and to be reached from here?" if transient else ""
        return Unreachable(what, where=self.host, remedy=remedy, transient=transient)


def is_here(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = re.sub(r":\d+$", "", host).strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _message(body: bytes) -> str:
    """What an OCI registry says in an error, as text that is safe to print."""
    try:
        first = json.loads(body)["errors"][0]
        said = f": {first.get('code')} {first.get('message', '')}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return "".join(c for c in said if c.isprintable())[:200]
