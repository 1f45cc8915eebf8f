"""A folder of a web server that takes HTTP PUT: Artifactory, Nexus (raw), or plain WebDAV.

<url>/blobs/sha256/<digest>      content, sent with X-Checksum-Sha256, which Artifactory holds it against
<url>/refs/<ref>                 what a ref means: canonical JSON {digest, mediaType, size}

Name and password come from ~/.netrc. Plain HTTP is spoken with this machine only. For refs see claim.py. An
upload that breaks off begins anew: HTTP has no other way.
"""

from __future__ import annotations

from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from sprue.errors import SprueError
from sprue.registry.claim import claim
from sprue.registry.documents import read_ref, ref_to_bytes
from sprue.registry.login import netrc_login
from sprue.registry.protocol import (
    UNKNOWN,
    Content,
    Descriptor,
    Registry,
    Stream,
    Taken,
    Unreachable,
    check_ref,
    describe,
    proven,
)
from sprue.registry.web import Web

SCHEMES = ("http", "https")
EXTRA = "oci"
STORED = (200, 201, 204)


class HTTP:
    def __init__(self, scheme: str, host: str, path: str) -> None:
        self._web = Web(host, netrc_login, f"a line for {host} in ~/.netrc", plain=scheme == "http")
        self._web.authorize(netrc_login(host))
        self._base = f"{self._web.base}/{path}"

    def has(self, what: Descriptor) -> bool:
        with closing(self._web.ask("HEAD", self._url(what))) as answer:
            if not self._web.found(answer):
                return False
            with suppress(ValueError, KeyError):
                return what.size in (UNKNOWN, int(answer.headers["Content-Length"]))
            return True

    def put(self, what: Descriptor, content: Content) -> None:
        self._put(self._url(what), what, content, {})

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        return self._web.get(self._url(what), what, start)

    def resolve(self, ref: str) -> Descriptor | None:
        url = f"{self._base}/refs/{check_ref(ref)}"
        with closing(self._web.ask("GET", url)) as answer:
            return read_ref(self._web.small(answer), url) if self._web.found(answer) else None

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        url = f"{self._base}/refs/{check_ref(ref)}"
        said = ref_to_bytes(what)
        condition = {} if instead_of else {"If-None-Match": "*"}
        write = partial(self._put, url, describe("application/json", said), said, condition)
        try:
            claim(ref, what, instead_of, resolve=self.resolve, write=write, where=self._base)
        except _Refused as error:
            raise Taken(ref, self.resolve(ref), self._base) from error

    def close(self) -> None:
        self._web.close()

    def _url(self, what: Descriptor) -> str:
        return f"{self._base}/blobs/sha256/{what.sha256}"

    def _put(self, url: str, what: Descriptor, content: Content, condition: dict[str, str]) -> None:
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "X-Checksum-Sha256": what.sha256,
            **condition,
        }
        body = partial(proven, what, content)
        with closing(self._web.ask("PUT", url, content=body, headers=headers)) as answer:
            if condition and answer.status_code == 412:
                raise _Refused("it is there already", where=url)
            self._web.expect(answer, *STORED)


class _Refused(Unreachable):
    """The server honours If-None-Match, and something is there."""


def connect(url: str) -> Registry:
    split = urlsplit(url)
    path = split.path.strip("/")
    if not path or split.query or split.fragment:
        raise SprueError("not the URL of a folder", where=url, remedy=f"{split.scheme}://host/path")
    return HTTP(split.scheme, split.netloc, path)
