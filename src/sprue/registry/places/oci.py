"""A repository of an OCI registry (distribution-spec 1.1): oci://host/repository.

`oci://host/repository?mount=other/repository` lets content that lies in another repository of the host be
mounted instead of sent. Plain HTTP is spoken with this machine only. Credentials are those of `docker login`.

docker-registry 2.8 overwrites tags: see claim.py. An upload that breaks off goes on where the registry
says it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from sprue.canonical import digest
from sprue.errors import SprueError
from sprue.registry.claim import claim
from sprue.registry.login import docker_login
from sprue.registry.protocol import (
    INDEX,
    MANIFEST,
    UNKNOWN,
    Content,
    Descriptor,
    Registry,
    Stream,
    Taken,
    Unreachable,
    Wrong,
    check_ref,
    is_sha256,
    pieces,
)
from sprue.registry.web import Web, is_here

if TYPE_CHECKING:
    import httpx

SCHEMES = ("oci",)
EXTRA = "oci"
ACCEPT = {"Accept": f"{INDEX}, {MANIFEST}"}
_REPOSITORY = re.compile(r"[a-z0-9]+([._/-]+[a-z0-9]+)*")
CONTINUED = 3
"""How often an upload is continued before it is given up."""


class OCI:
    def __init__(self, host: str, repository: str, mounts: Sequence[str] = ()) -> None:
        self._web = Web(host, docker_login, f"docker login {host}", plain=is_here(host))
        self._base = f"{self._web.base}/v2/{repository}"
        self._where = f"oci://{host}/{repository}"
        self._mounts = mounts

    def has(self, what: Descriptor) -> bool:
        with closing(self._web.ask("HEAD", self._url(what), headers=_accept(what))) as answer:
            return self._web.found(answer) and (
                what.size == UNKNOWN or _length(answer) in (UNKNOWN, what.size)
            )

    def put(self, what: Descriptor, content: Content) -> None:
        if what.is_manifest:
            self._put_manifest(self._url(what), what, content)
        else:
            self._upload(what, content)

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        return self._web.get(self._url(what), what, start, _accept(what))

    def resolve(self, ref: str) -> Descriptor | None:
        url = f"{self._base}/manifests/{check_ref(ref)}"
        with closing(self._web.ask("HEAD", url, headers=ACCEPT)) as answer:
            if not self._web.found(answer):
                return None
            sha = answer.headers.get("Docker-Content-Digest", "").removeprefix("sha256:")
            if is_sha256(sha):
                return Descriptor(_kind(answer), sha, _length(answer))
        with closing(self._web.ask("GET", url, headers=ACCEPT)) as answer:
            if not self._web.found(answer):
                return None
            data = self._web.small(answer)
            return Descriptor(_kind(answer), digest(data), len(data))

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        url = f"{self._base}/manifests/{check_ref(ref)}"
        condition = {} if instead_of else {"If-None-Match": "*"}

        def write() -> None:
            with closing(self.get(what)) as stream:
                data = b"".join(stream)
            self._put_manifest(url, what, data, condition)

        try:
            claim(ref, what, instead_of, resolve=self.resolve, write=write, where=self._where)
        except _Refused as error:
            raise Taken(ref, self.resolve(ref), self._where) from error

    def close(self) -> None:
        self._web.close()

    def _url(self, what: Descriptor) -> str:
        return f"{self._base}/{'manifests' if what.is_manifest else 'blobs'}/sha256:{what.sha256}"

    def _put_manifest(
        self, url: str, what: Descriptor, content: Content, condition: dict[str, str] | None = None
    ) -> None:
        data = b"".join(pieces(content))
        if digest(data) != what.sha256:
            raise Wrong(f"{what.short}: the manifest to keep has another digest", where=self._where)
        headers = {"Content-Type": what.media_type, "Content-Length": str(len(data)), **(condition or {})}
        with closing(self._web.ask("PUT", url, content=lambda: [data], headers=headers)) as answer:
            if answer.status_code in (409, 412):
                raise _Refused("it is there already", where=self._where)
            # docker-registry calls a right digest invalid when several write manifests at once
            self._web.expect(answer, 201, passing=(400,))

    def _upload(self, what: Descriptor, content: Content) -> None:
        place = self._begin(what)
        if place is None:
            return
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        there = 0
        for attempt in range(1 + CONTINUED):
            try:
                if there:
                    place = self._patch(place, content, there, size)
                self._finish(place, what, content, size if there else 0, size)
                return
            except Unreachable as error:
                if not error.transient or attempt == CONTINUED:
                    raise
            there, begun = self._continue(place, size)
            place = begun or self._begin(what)
            if place is None:
                return

    def _begin(self, what: Descriptor) -> httpx.URL | None:
        """Where to send content; None if it was mounted from another repository."""
        for other in self._mounts:
            url = f"{self._base}/blobs/uploads/?mount=sha256:{what.sha256}&from={other}"
            with closing(self._web.ask("POST", url, headers={"Content-Length": "0"})) as answer:
                if answer.status_code == 201:
                    return None
                if answer.status_code == 202:
                    return self._place(answer)
        with closing(
            self._web.ask("POST", f"{self._base}/blobs/uploads/", headers={"Content-Length": "0"})
        ) as answer:
            self._web.expect(answer, 202)
            return self._place(answer)

    def _finish(self, place: httpx.URL, what: Descriptor, content: Content, start: int, size: int) -> None:
        url = str(place.copy_merge_params({"digest": f"sha256:{what.sha256}"}))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size - start)}
        body = partial(pieces, content, start)
        with closing(self._web.ask("PUT", url, content=body, headers=headers)) as answer:
            if answer.status_code == 400:
                raise Wrong(f"{what.short}: the registry says that the content is another", where=self._where)
            self._web.expect(answer, 201)

    def _patch(self, place: httpx.URL, content: Content, start: int, size: int) -> httpx.URL:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size - start),
            "Content-Range": f"{start}-{size - 1}",
        }
        body = partial(pieces, content, start)
        with closing(self._web.ask("PATCH", str(place), content=body, headers=headers)) as answer:
            self._web.expect(answer, 202)
            return self._place(answer)

    def _continue(self, place: httpx.URL, size: int) -> tuple[int, httpx.URL | None]:
        """From which byte, and where, a broken upload goes on; 0 and None if it has to begin anew."""
        with closing(self._web.ask("GET", str(place))) as answer:
            end = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("Range", ""))
            if answer.status_code != 204 or end is None or not 0 < int(end[1]) < size:
                return 0, None
            return int(end[1]) + 1, self._place(answer)

    def _place(self, answer: httpx.Response) -> httpx.URL:
        place = answer.url.join(answer.headers.get("Location", ""))
        if (place.scheme, place.host, place.port) != (answer.url.scheme, answer.url.host, answer.url.port):
            raise Unreachable(f"wants an upload to {place.host}", where=self._where)
        return place


class _Refused(Unreachable):
    """The registry itself does not let the tag be overwritten."""


def connect(url: str) -> Registry:
    split = urlsplit(url)
    repository = split.path.strip("/")
    mounts = [m for value in parse_qs(split.query).get("mount", []) for m in value.split(",")]
    for name in (repository, *mounts):
        if not _REPOSITORY.fullmatch(name):
            remedy = "oci://host/repository, in lower case"
            raise SprueError(f"'{name}' is no repository of a registry", where=url, remedy=remedy)
    return OCI(split.netloc, repository, mounts)


def _accept(what: Descriptor) -> dict[str, str]:
    return ACCEPT if what.is_manifest else {}


def _kind(answer: httpx.Response) -> str:
    return str(answer.headers.get("Content-Type", "")).partition(";")[0].strip()


def _length(answer: httpx.Response) -> int:
    with suppress(ValueError):
        return int(answer.headers.get("Content-Length", ""))
    return UNKNOWN
