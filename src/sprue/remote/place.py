"""A place that keeps files by name, and the URL that says which.

/mnt/cache, file:///mnt/cache     a folder or a mounted share
s3://bucket/prefix                S3 or what speaks like it (AWS_ENDPOINT_URL); extra `s3`
oci://host/repository             an OCI registry; extra `oci`
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from sprue.errors import SprueError

Stream = Generator[bytes, None, None]


class Unreachable(Exception):
    """The place did not do what it was asked: the network, its rights, or itself."""


class Place(Protocol):
    """Called from several threads. Every method raises Unreachable, `get`'s stream too.

    Names are relative paths of safe characters. What comes after `blobs/` in one is the file's sha256.
    """

    def has(self, name: str) -> bool:
        """Whether there is something under a name."""

    def get(self, name: str) -> Stream | None:
        """The bytes under a name, in pieces; None if there are none. The caller closes it."""

    def put(self, name: str, file: Path) -> None:
        """Keep a file's bytes under a name, in place of any others: all of them or none."""

    def close(self) -> None:
        """Let the connections go."""


def open_place(url: str) -> Place:
    """The place that a URL names; nothing is asked of it yet. Raises SprueError."""
    scheme = urlsplit(url).scheme if "://" in url else "file"
    try:
        if scheme == "file":
            from sprue.remote.folder import Folder

            return Folder(Path(unquote(urlsplit(url).path) if "://" in url else url))
        if scheme == "s3":
            from sprue.remote.s3 import S3

            return S3(urlsplit(url).netloc, urlsplit(url).path.strip("/"))
        if scheme == "oci":
            from sprue.remote.oci import OCI

            return OCI(urlsplit(url).netloc, urlsplit(url).path.strip("/"))
    except ModuleNotFoundError as error:
        raise SprueError(
            f"{error.name} is not installed", where=url, remedy=f"pip install 'sprue[{scheme}]'"
        ) from error
    raise SprueError(
        f"a remote cache cannot be '{scheme}:'",
        where=url,
        remedy="a folder, s3://bucket/prefix or oci://host/repository",
    )
