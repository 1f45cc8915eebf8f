"""The local store: a folder of bundles. Nothing in it is ever changed, only added.

<store>/<name>/<version>-<first 12 digits of the id>/   a bundle
<store>/<name>/<version>.json                           the id that <name>@<version> means: the latest one
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sprue.bundle.check import Proof, check_bundle, read_bundle_manifest
from sprue.bundle.manifest import Manifest
from sprue.canonical import canonical, parse
from sprue.durable import sync_folder, sync_tree, write_file
from sprue.errors import CheckError, SprueError, did_you_mean

_REFERENCE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(@(?P<version>[0-9][0-9A-Za-z.-]*))?(#(?P<id>[0-9a-f]{6,64}))?"
)


@dataclass(frozen=True)
class Stored:
    """A bundle in the store."""

    folder: Path
    manifest: Manifest
    id: str
    latest: bool


class Store:
    """The store in `folder`, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder on the store's file system to put a bundle together in; gone at the end of the block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".staging-", dir=self.folder))
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, staged: Path, manifest: Manifest) -> Path:
        """Move a frozen bundle into its place. One that is there already stays, unless it is damaged."""
        ident = manifest.id()
        place = self.folder / manifest.name / f"{manifest.version}-{ident[:12]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            try:
                check_bundle(place, ident)
            except CheckError:
                shutil.rmtree(place)
        if not place.exists():
            sync_tree(staged)
            staged.rename(place)
            sync_folder(place.parent)
        write_file(place.parent / f"{manifest.version}.json", canonical({"id": ident}))
        return place

    def bundles(self) -> list[Stored]:
        """All bundles, by name and version, the latest of each first. Raises CheckError for a damaged one."""
        found = []
        for folder in sorted(self.folder.glob("*/*-*/")):
            if folder.parent.name.startswith(".") or folder.name.startswith("."):
                continue
            manifest = read_bundle_manifest(folder)
            ident = manifest.id()
            found.append(
                Stored(folder, manifest, ident, ident == self._latest(manifest.name, manifest.version))
            )
        return sorted(found, key=lambda s: (s.manifest.name, _order(s.manifest.version), not s.latest, s.id))

    def find(self, reference: str) -> Stored:
        """`name`, `name@version`, or either with `#id`. Raises SprueError when there is no such bundle."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise SprueError(
                f"'{reference}' is not a bundle's name",
                remedy="write name@version, or name@version#first-digits-of-id",
            )
        bundles = self.bundles()
        found = [
            s
            for s in bundles
            if s.manifest.name == match["name"]
            and match["version"] in (None, s.manifest.version)
            and s.id.startswith(match["id"] or "")
            and (s.latest or match["id"])
        ]
        if not found:
            known = {f"{s.manifest.name}@{s.manifest.version}" for s in bundles}
            raise SprueError(
                f"there is no bundle '{reference}'",
                where=str(self.folder),
                remedy=did_you_mean(reference, known),
            )
        return found[-1]

    def check(self, stored: Stored) -> Proof:
        return check_bundle(stored.folder, stored.id)

    def _latest(self, name: str, version: str) -> str | None:
        try:
            value = parse((self.folder / name / f"{version}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return value.get("id") if isinstance(value, dict) else None


def _order(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Semantic versions in their order: a pre-release comes before its release."""
    core, dash, pre = version.partition("-")
    return tuple(int(p) for p in core.split(".")), not dash, pre
