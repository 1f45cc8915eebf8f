"""What the engine needs of a cache that machines share. Where it is, and who writes, is not its business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sprue.engine.cache import Entry


@dataclass(frozen=True)
class Fetched:
    """What was laid out: relative path -> sha256. `seconds`: what it took where it was made."""

    files: Mapping[str, str]
    seconds: float


class Shared(Protocol):
    """Called from several threads at once. Nothing here raises: what goes wrong is said in `notes`."""

    def fetch(self, key: str, parts: Mapping[str, str], made: Path) -> Fetched | None:
        """Lay out what another machine made for a key in the empty folder `made`. None: make it yourself."""

    def offer(self, entry: Entry) -> None:
        """Give others what was made here, some time."""

    def notes(self) -> list[str]:
        """What has gone wrong since this was last asked."""
