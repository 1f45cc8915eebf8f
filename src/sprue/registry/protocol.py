"""What every place to publish must be able to do, and the URLs that name them.

/mnt/share/digits, file:///mnt/share/digits     a folder or a mounted share
oci://host/team/digits                          an OCI registry; extra `oci`
s3://bucket/prefix/digits                       S3 or what speaks like it; extra `s3`
https://host/repository/digits                  HTTP PUT: Artifactory, Nexus, WebDAV; extra `oci`

Content goes by its sha256, so it is the same everywhere and cannot be wrong. Only a ref can: so it is set
last, and once.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from sprue.canonical import digest
from sprue.errors import CheckError, SprueError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
UNKNOWN = -1
"""A size that nobody has told yet."""
PIECE = 1 << 18
MOST_JSON = 4 << 20
"""Bytes of an index or a manifest: what docker-registry takes."""

Stream = Generator[bytes, None, None]
Content = Path | bytes

_SHA = re.compile("[0-9a-f]{64}")
_REF = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Unreachable(CheckError):
    """The place did not do what it was asked. `transient`: it may do it if asked again."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "", transient: bool = False) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.transient = transient


class Absent(CheckError):
    """There is nothing with that digest."""


class Wrong(CheckError):
    """What is there is not what its digest or its size says."""


class Taken(CheckError):
    """The ref means something else. `found`: what."""

    def __init__(self, ref: str, found: Descriptor | None, where: str) -> None:
        what = f"'{ref}' is published already, as sha256:{found.sha256}" if found else f"'{ref}' is taken"
        super().__init__(what, where=where, remedy="a published version never changes: raise the version")
        self.found = found


@dataclass(frozen=True)
class Descriptor:
    """Content by its digest (hexadecimal), as in OCI. `size` in bytes, or UNKNOWN."""

    media_type: str
    sha256: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def is_manifest(self) -> bool:
        return self.media_type in (INDEX, MANIFEST)

    @property
    def short(self) -> str:
        return f"sha256:{self.sha256[:12]}"


ANYTHING = Descriptor("", "", 0)
"""`instead_of` whatever a ref means: for a cache, where the last one is as good as the first."""


def describe(media_type: str, data: bytes, **annotations: str) -> Descriptor:
    return Descriptor(media_type, digest(data), len(data), annotations)


class Registry(Protocol):
    """A repository of one bundle's versions. Called from several threads. Every method raises Unreachable."""

    def has(self, what: Descriptor) -> bool:
        """Whether content with this digest is there, of this size; its bytes are not looked at."""

    def put(self, what: Descriptor, content: Content) -> None:
        """Keep content, all of it or nothing, in the place of damaged content of that digest where it can be.

        Raises Wrong if the content is not what `what` says.
        """

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        """The bytes from `start` on, as they come: not proven yet. The caller closes it. Raises Absent."""

    def resolve(self, ref: str) -> Descriptor | None:
        """What a ref means; None if it means nothing."""

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        """Let a ref mean `what`, which is there, if it means nothing yet, or means it already.

        `instead_of`: if it means that; for refs that grow or move, never for versions. Raises Taken.
        """

    def close(self) -> None:
        """Let the connections go."""


def check_ref(ref: str) -> str:
    """A ref, as OCI spells tags. Raises SprueError."""
    if _REF.fullmatch(ref) is None:
        raise SprueError(f"'{ref[:80]}' cannot be a ref", remedy="a version such as 1.4.0")
    return ref


def is_sha256(text: str) -> bool:
    return _SHA.fullmatch(text) is not None


def split_reference(text: str) -> tuple[str, str | None]:
    """`oci://host/digits:1.4.0` -> (`oci://host/digits`, `1.4.0`); a digest is `@sha256:<hex>`.

    The ref is None if there is none. Raises SprueError for what cannot be a ref.
    """
    base, at, last = text.rpartition("@")
    if at and last.startswith("sha256:") and is_sha256(last.removeprefix("sha256:")):
        return base, last
    if at and last.startswith("sha256:"):
        remedy = "64 hexadecimal digits, as `sprue publish` printed them"
        raise SprueError(f"'{last}' is no digest", where=base, remedy=remedy)
    base, _, last = text.rpartition(":")
    scheme, separator, rest = base.rpartition("://")
    if not rest or "/" in last or (separator and scheme and "/" not in rest):  # no colon, or that of a port
        return text, None
    return base, check_ref(last)


def connect(url: str) -> Registry:
    """The place that a URL names; nothing is asked of it yet. Raises SprueError."""
    scheme = urlsplit(url).scheme.lower() if "://" in url else "file"
    if "://" in url and "@" in urlsplit(url).netloc:
        where = url.replace(urlsplit(url).netloc, urlsplit(url).netloc.rpartition("@")[2])
        raise SprueError("a URL is no place for a password", where=where, remedy="see docs/registries.md")
    package = importlib.import_module("sprue.registry.places")
    modules = [
        importlib.import_module(f"{package.__name__}.{m.name}")
        for m in pkgutil.iter_modules(package.__path__)
    ]
    known = {name: module for module in modules for name in module.SCHEMES}
    if scheme not in known:
        raise SprueError(
            f"nothing can be published to '{scheme}:'",
            where=url,
            remedy=f"a folder, or {', '.join(f'{name}://' for name in sorted(known))}",
        )
    try:
        made: Registry = known[scheme].connect(url)
    except ModuleNotFoundError as error:
        remedy = f"pip install 'sprue[{known[scheme].EXTRA}]'"
        raise SprueError(f"{error.name} is not installed", where=url, remedy=remedy) from error
    return made


def pieces(content: Content, start: int = 0) -> Generator[bytes, None, None]:
    """Content from `start` on, at most PIECE bytes at once."""
    if isinstance(content, bytes):
        yield from (content[i : i + PIECE] for i in range(start, len(content), PIECE))
        return
    with content.open("rb") as stream:
        stream.seek(start)
        while piece := stream.read(PIECE):
            yield piece


def proven(what: Descriptor, content: Content) -> Generator[bytes, None, None]:
    """The pieces of content, the last one only if all are what `what` says: so who stops short of the end has
    kept nothing. Raises Wrong."""
    seen, size, held = hashlib.sha256(), 0, b""
    for piece in pieces(content):
        seen.update(piece)
        size += len(piece)
        if held:
            yield held
        held = piece
    if seen.hexdigest() != what.sha256 or what.size not in (UNKNOWN, size):
        raise Wrong(f"{what.short}: the content to keep has another digest or size")
    if held:
        yield held
