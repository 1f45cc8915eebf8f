"""What `publish` and `pull` share: a registry that is patient, and a bar of bytes on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from sprue.errors import CheckError

if TYPE_CHECKING:
    from sprue.registry.protocol import Registry

URL_HELP = "A folder, oci://host/repository, s3://bucket/prefix or https://host/path (docs/registries.md)."


@contextmanager
def opened(url: str, *, bar: bool) -> Iterator[Registry]:
    """The registry at `url`, closed at the end. `bar`: show what moves, if standard error is a terminal."""
    from sprue.registry.patience import patient
    from sprue.registry.protocol import connect
    from sprue.registry.transfer import Told

    with closing(patient(connect(url))) as registry, _named(url):
        if not bar or not sys.stderr.isatty():
            yield registry
            return
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

        columns = SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            task = shown.add_task(url, total=None)
            yield Told(registry, lambda count: shown.advance(task, count))


@contextmanager
def _named(url: str) -> Iterator[None]:
    """An error that says of no place says of the registry."""
    try:
        yield
    except CheckError as error:
        error.where = error.where or url
        raise
