"""Tokens and redirections of registries: what docker-registry with a password file does not do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sprue.registry.documents import read_layers
from sprue.registry.protocol import MANIFEST, UNKNOWN, Descriptor, Unreachable, Wrong, connect, describe

pytest.importorskip("httpx", reason="sprue[oci] is not installed")

DATA = b"what was made"
WHAT = describe("application/octet-stream", DATA)


@contextmanager
def serving(answer: Any) -> Iterator[str]:
    """A server on loopback; `answer(handler)` gives status, headers and body. Its host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def seen() -> list[tuple[str, str | None]]:
    """Path and credentials of every request."""
    return []


def test_a_token_is_asked_for_with_the_password_and_is_not_sent_on_to_another_host(
    seen: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def store(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        seen.append(("store", request.headers["Authorization"]))
        return 200, {}, DATA

    with serving(store) as elsewhere:

        def registry(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
            given = request.headers["Authorization"]
            seen.append((request.path.partition("?")[0].rpartition("/")[2][:10], given))
            if request.path.startswith("/token"):
                return 200, {}, json.dumps({"token": "abc"}).encode()
            if given != "Bearer abc":
                realm = f'Bearer realm="http://{request.headers["Host"]}/token",service="s",scope="pull"'
                return 401, {"WWW-Authenticate": realm}, b""
            return 307, {"Location": f"http://{elsewhere}/data"}, b""

        with serving(registry) as host:
            login = json.dumps({"auths": {host: {"auth": "Y2k6c2VjcmV0"}}})
            (tmp_path / "config.json").write_text(login)
            monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
            with closing(connect(f"oci://{host}/cache")) as place:
                assert b"".join(place.get(WHAT)) == DATA
    blob = f"sha256:{WHAT.sha256}"[:10]
    assert seen == [(blob, None), ("token", "Basic Y2k6c2VjcmV0"), (blob, "Bearer abc"), ("store", None)]


@pytest.mark.parametrize(
    ("challenge", "word"),
    [
        ('Bearer realm="http://registry.invalid/token"', "in clear"),
        ('Bearer service="s"', "docker login"),
        ("Negotiate", "docker login"),
        ("", "docker login"),
    ],
)
def test_a_challenge_that_cannot_be_met_is_unreachable(challenge: str, word: str) -> None:
    with (
        serving(lambda _: (401, {"WWW-Authenticate": challenge}, b"")) as host,
        closing(connect(f"oci://{host}/cache")) as place,
        pytest.raises(Unreachable, match=word),
    ):
        place.get(WHAT)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"layers": [{"digest": "../../x"}]}', b"[" * 100_000, b'{"layers":[],"layers":[]}'],
)
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    what = describe(MANIFEST, body)
    with (
        serving(lambda _: (200, {}, body)) as host,
        closing(connect(f"oci://{host}/cache")) as place,
        pytest.raises(Wrong, match="not what it should be"),
    ):
        read_layers(place, what)


def test_a_manifest_larger_than_registries_take_is_not_read() -> None:
    body = b"x" * (5 << 20)
    for size in (len(body), 100, UNKNOWN):
        with (
            serving(lambda _: (200, {}, body)) as host,
            closing(connect(f"oci://{host}/cache")) as place,
            pytest.raises(Wrong, match=r"of at most|more than"),
        ):
            read_layers(place, Descriptor(MANIFEST, "a" * 64, size))


def test_a_server_that_cannot_begin_elsewhere_is_read_from_its_beginning() -> None:
    with serving(lambda _: (200, {}, DATA)) as host, closing(connect(f"oci://{host}/cache")) as place:
        for start in range(len(DATA) + 1):
            assert b"".join(place.get(WHAT, start)) == DATA[start:]


def test_an_error_is_said_in_the_registrys_words_without_control_characters() -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "quota \x1b[31m exceeded"}]}).encode()
    with (
        serving(lambda _: (403, {}, body)) as host,
        closing(connect(f"oci://{host}/cache")) as place,
        pytest.raises(Unreachable, match=r"403 Forbidden to GET: DENIED quota \[31m exceeded"),
    ):
        place.get(WHAT)
