"""`--remote-cache`: what other machines made. The key is in the environment: it is no word for a shell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sprue.engine.cache import Cache
    from sprue.engine.run import Listener
    from sprue.engine.shared import Shared

KEY = "SPRUE_REMOTE_CACHE_KEY"

url = click.option(
    "--remote-cache",
    metavar="URL",
    envvar="SPRUE_REMOTE_CACHE",
    help="A folder, s3://bucket/prefix or oci://host/repository to take from (see docs/cache.md).",
)
write = click.option(
    "--remote-cache-write",
    is_flag=True,
    envvar="SPRUE_REMOTE_CACHE_WRITE",
    help="Also write to it what is made here: for CI.",
)


@contextmanager
def opened(url: str | None, write: bool, cache: Cache, listen: Listener) -> Iterator[Shared | None]:
    """The remote cache behind `cache`. At its end all is written, and what went wrong is said.

    Raises SprueError for a URL or a key that is none.
    """
    if not url:
        yield None
        return
    from sprue.engine.run import Event
    from sprue.registry.protocol import connect
    from sprue.remote.second_level import SecondLevel
    from sprue.remote.signing import Keys, read_keys

    key = os.environ.get(KEY)
    keys = read_keys(key) if key else Keys()
    if write and keys.public is not None and keys.private is None:
        raise click.UsageError(
            f"--remote-cache-write needs the private key in {KEY}; the one there is public"
        )
    shared = SecondLevel(connect(url), cache, keys, write=write)
    try:
        with shared:
            yield shared
    finally:
        for text in shared.notes():
            listen(Event("remote cache", "note", text))
