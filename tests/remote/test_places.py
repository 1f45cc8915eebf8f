"""What every place must do, done against each: a folder, S3, an OCI registry."""

from __future__ import annotations

import hashlib
import os
import socket
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sprue.errors import SprueError
from sprue.remote.place import Place, Unreachable, open_place

pytestmark = pytest.mark.slow

RECORD = f"actions/{'a' * 64}.json"


def read(place: Place, name: str) -> bytes | None:
    stream = place.get(name)
    if stream is None:
        return None
    with closing(stream):
        return b"".join(stream)


@pytest.fixture
def keep(place: Place, tmp_path: Path) -> Callable[[str, bytes], None]:
    """Put bytes under a name."""

    def keep(name: str, data: bytes) -> None:
        file = tmp_path / "file"
        file.write_bytes(data)
        place.put(name, file)

    return keep


def blob(data: bytes) -> str:
    return f"blobs/{hashlib.sha256(data).hexdigest()}"


def test_what_was_never_put_is_not_there(place: Place) -> None:
    for name in (RECORD, blob(b"x")):
        assert not place.has(name)
        assert read(place, name) is None


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_what_was_put_comes_back_byte_for_byte(
    place: Place, keep: Callable[[str, bytes], None], size: int
) -> None:
    data = os.urandom(size)
    for name in (RECORD, blob(data)):
        keep(name, data)
        assert place.has(name)
        assert read(place, name) == data
        keep(name, data)
        assert read(place, name) == data


def test_a_record_is_replaced_as_a_whole(place: Place, keep: Callable[[str, bytes], None]) -> None:
    keep(RECORD, b"the first, which is longer")
    keep(RECORD, b"the second")
    assert read(place, RECORD) == b"the second"


def test_a_stream_that_is_given_up_half_way_leaves_the_place_usable(
    place: Place, keep: Callable[[str, bytes], None]
) -> None:
    data = os.urandom(5_000_000)
    keep(blob(data), data)
    for _ in range(12):
        stream = place.get(blob(data))
        assert stream is not None
        assert data.startswith(next(stream))
        stream.close()
    assert read(place, blob(data)) == data


@pytest.mark.slow
def test_large_files_are_streamed(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "large"
    size = 64 << 20
    with file.open("wb") as stream:
        stream.truncate(size)
    sha = hashlib.sha256(bytes(size)).hexdigest()
    tracemalloc.start()
    try:
        place.put(f"blobs/{sha}", file)
        received = place.get(f"blobs/{sha}")
        assert received is not None
        assert sum(len(piece) for piece in received) == size
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("scheme", ["s3", "oci"])
def test_a_host_where_nobody_listens_is_unreachable(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip({"s3": "boto3", "oci": "httpx"}[scheme])
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{bound.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        url = {"s3": "s3://bucket/prefix", "oci": f"oci://{host}/cache"}[scheme]
        with closing(open_place(url)) as place, pytest.raises(Unreachable):
            place.get(RECORD)


def test_a_folder_that_is_absent_is_unreachable_and_not_empty(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="there is no folder"):
        open_place(str(tmp_path / "absent")).get(RECORD)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_in_a_folder_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / RECORD
    path.parent.mkdir()
    match kind:
        case "link":
            path.symlink_to("/etc/passwd")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    with pytest.raises(Unreachable):
        open_place(f"file://{tmp_path}").get(RECORD)


def test_a_registry_that_wants_a_password_we_do_not_have_is_unreachable(
    oci_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with closing(open_place(f"{oci_url}/cache")) as place, pytest.raises(Unreachable, match="docker login"):
        place.get(RECORD)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("ftp://host/x", "cannot be 'ftp:'"),
        ("oci://host", "no repository"),
        ("oci://host/UPPER", "no repository"),
    ],
)
def test_a_url_that_names_no_place_is_refused(url: str, word: str) -> None:
    with pytest.raises(SprueError, match=word):
        open_place(url)
