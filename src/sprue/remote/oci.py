"""A repository of an OCI registry. A file is a blob; a tag's manifest names it, and so keeps it.

    blobs/<sha256>        the blob with that digest, and the tag blobs-<sha256>
    actions/<key>.json    the first layer of the tag actions-<key>.json

Plain HTTP is spoken with this machine only. Credentials are those of `docker login` in config.json.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sprue.canonical import canonical, digest, file_digest
from sprue.errors import SprueError
from sprue.remote.place import Stream, Unreachable

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"
PIECE = 1 << 20
LARGEST_ANSWER = 1 << 20
"""Bytes of a manifest or a token."""


class OCI:
    def __init__(self, host: str, repository: str) -> None:
        import httpx

        if not re.fullmatch(r"[a-z0-9]+([._/-]+[a-z0-9]+)*", repository) or "@" in host:
            raise SprueError(
                "no repository of a registry",
                where=f"oci://{host}/{repository}",
                remedy="oci://host/repository",
            )
        self._host = host
        self._broken = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL)
        self._base = f"{'http' if _is_here(host) else 'https'}://{host}/v2/{repository}"
        self._authorization = ""
        timeout = httpx.Timeout(20, connect=5)
        self._client = httpx.Client(
            timeout=timeout, follow_redirects=True, max_redirects=5, headers={"Accept-Encoding": "identity"}
        )

    def has(self, name: str) -> bool:
        with closing(self._ask("HEAD", f"{self._base}/manifests/{_tag(name)}", accept=MANIFEST)) as answer:
            return self._found(answer)

    def get(self, name: str) -> Stream | None:
        sha = name.removeprefix("blobs/") if name.startswith("blobs/") else self._layer(name)
        if sha is None:
            return None
        answer = self._ask("GET", f"{self._base}/blobs/sha256:{sha}")
        try:
            if self._found(answer):
                return self._stream(answer)
        except Unreachable:
            answer.close()
            raise
        answer.close()
        return None

    def put(self, name: str, file: Path) -> None:
        try:
            sha, size = file_digest(file), file.stat().st_size
        except OSError as error:
            raise Unreachable(f"{file}: {error.strerror}") from error
        self._upload(sha, size, lambda: _pieces(file))
        empty = digest(EMPTY)
        self._upload(empty, len(EMPTY), lambda: iter([EMPTY]))
        config = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": f"sha256:{empty}",
            "size": len(EMPTY),
        }
        layer = {"mediaType": "application/octet-stream", "digest": f"sha256:{sha}", "size": size}
        manifest = canonical({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})
        url = f"{self._base}/manifests/{_tag(name)}"
        kind = {"Content-Type": MANIFEST, "Content-Length": str(len(manifest))}
        with closing(self._ask("PUT", url, content=lambda: iter([manifest]), headers=kind)) as answer:
            self._expect(answer, 201)

    def close(self) -> None:
        self._client.close()

    def _layer(self, name: str) -> str | None:
        """The sha256 of the file that a tag names."""
        with closing(self._ask("GET", f"{self._base}/manifests/{_tag(name)}", accept=MANIFEST)) as answer:
            if not self._found(answer):
                return None
            try:
                said = str(json.loads(self._short(answer))["layers"][0]["digest"])
            except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
                raise Unreachable(f"{self._host}: no manifest of ours ({error})") from error
        if not re.fullmatch("sha256:[0-9a-f]{64}", said):
            raise Unreachable(f"{self._host}: {said[:80]!r} is not a digest")
        return said.removeprefix("sha256:")

    def _upload(self, sha: str, size: int, content: Callable[[], Iterator[bytes]]) -> None:
        with closing(self._ask("HEAD", f"{self._base}/blobs/sha256:{sha}")) as answer:
            if self._found(answer):
                return
        with closing(self._ask("POST", f"{self._base}/blobs/uploads/")) as answer:
            self._expect(answer, 202)
            place = answer.url.join(answer.headers.get("Location", ""))
        if (place.host, place.port) != (answer.url.host, answer.url.port):
            raise Unreachable(f"{self._host}: wants an upload to {place.host}")
        kind = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        url = str(place.copy_merge_params({"digest": f"sha256:{sha}"}))
        with closing(self._ask("PUT", url, content=content, headers=kind)) as answer:
            self._expect(answer, 201)

    def _ask(
        self,
        method: str,
        url: str,
        *,
        accept: str = "*/*",
        content: Callable[[], Iterator[bytes]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """An answer whose body is not read yet, asked for again with credentials if it must be."""
        try:
            for attempt in (1, 2):
                sent = {"Accept": accept, **(headers or {})}
                if self._authorization:
                    sent["Authorization"] = self._authorization
                body = content() if content is not None else None
                request = self._client.build_request(method, url, headers=sent, content=body)
                answer = self._client.send(request, stream=True)
                if answer.status_code != 401 or attempt == 2:
                    return answer
                answer.close()
                self._authorization = self._credentials(answer.headers.get("WWW-Authenticate", ""))
        except self._broken as error:
            raise Unreachable(f"{self._host}: {error or type(error).__name__}") from error
        raise AssertionError

    def _credentials(self, challenge: str) -> str:
        """What the registry wants to see: the password itself, or a token that it gives for it."""
        scheme, _, rest = challenge.partition(" ")
        basic = _docker_login(self._host)
        if scheme.lower() == "basic" and basic:
            return f"Basic {basic}"
        words = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in words:
            raise Unreachable(f"{self._host}: wants credentials; see `docker login`")
        realm = self._client.build_request("GET", words.pop("realm"), params=words)
        if realm.url.scheme != "https" and not _is_here(realm.url.netloc.decode()):
            raise Unreachable(f"{self._host}: wants a password sent in clear to {realm.url.host}")
        if basic:
            realm.headers["Authorization"] = f"Basic {basic}"
        with closing(self._client.send(realm, stream=True)) as answer:
            self._expect(answer, 200)
            try:
                said = json.loads(self._short(answer))
                return f"Bearer {said.get('token') or said['access_token']}"
            except (ValueError, KeyError, AttributeError, RecursionError) as error:
                raise Unreachable(f"{self._host}: gave no token") from error

    def _found(self, answer: Any) -> bool:
        if answer.status_code == 404:
            return False
        self._expect(answer, 200)
        return True

    def _expect(self, answer: Any, status: int) -> None:
        if answer.status_code != status:
            raise Unreachable(
                f"{self._host}: {answer.status_code} {answer.reason_phrase} to {answer.request.method}"
            )

    def _short(self, answer: Any) -> bytes:
        body = b""
        for piece in self._stream(answer):
            body += piece
            if len(body) > LARGEST_ANSWER:
                raise Unreachable(f"{self._host}: an answer of more than {LARGEST_ANSWER} bytes")
        return body

    def _stream(self, answer: Any) -> Stream:
        try:
            yield from answer.iter_raw(PIECE)
        except self._broken as error:
            raise Unreachable(f"{self._host}: {error or type(error).__name__}") from error
        finally:
            answer.close()


def _tag(name: str) -> str:
    return name.replace("/", "-")


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


def _is_here(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = re.sub(r":\d+$", "", host).strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _docker_login(host: str) -> str:
    """What `docker login` has kept for a host: base64 of name and password. "" if there is none."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        kept = json.loads((folder / "config.json").read_bytes())["auths"][host]["auth"]
        base64.b64decode(kept, validate=True)
        return str(kept)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
