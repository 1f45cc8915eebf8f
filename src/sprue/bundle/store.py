"""The local store: a folder of bundles. Nothing in it is ever changed, only added.

<store>/<name>/<version>-<first 12 digits of the id>/   a bundle
<store>/<name>/<version>.json                           the id that <name>@<version> means: the latest one
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sprue.bundle.check import Proof, check_bundle, read_bundle_manifest
from sprue.bundle.manifest import Manifest
from sprue.canonical import canonical, parse
from sprue.durable import locked, owned_folder, sweep, sync_folder, sync_tree, write_file
from sprue.errors import CheckError, SprueError, did_you_mean

_REFERENCE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(@(?P<version>[0-9][0-9A-Za-z.-]*))?(#(?P<id>[0-9a-f]{6,64}))?"
)


_STAGING = ".staging-"


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
        sweep(self.folder, _STAGING)
        with owned_folder(self.folder, _STAGING) as folder:
            folder.chmod(0o755)
            yield folder

    def keep(self, staged: Path, manifest: Manifest, *, latest: bool = True) -> Path:
        """Move a frozen bundle into its place. One that is there already stays, unless it is damaged.

        `latest`: it is what <name>@<version> means from now on.
        """
        ident = manifest.id()
        place = self.folder / manifest.name / f"{manifest.version}-{ident[:12]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.parent):
            if place.exists() and not _is_whole(place, ident):
                with owned_folder(self.folder, _STAGING) as aside:
                    place.rename(aside / "damaged")
            if not place.exists():
                sync_tree(staged)
                staged.rename(place)
                sync_folder(place.parent)
            if latest:
                write_file(place.parent / f"{manifest.version}.json", canonical({"id": ident}))
        return place

    def bundles(self) -> list[Stored]:
        """All bundles, by name and version, the latest of each first. Raises CheckError for a damaged one."""
        return self._read("*")

    def _read(self, name: str) -> list[Stored]:
        found = []
        for folder in sorted(self.folder.glob(f"{name}/*-*/")):
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
        found = [
            s
            for s in self._read(match["name"])
            if s.manifest.name == match["name"]
            and match["version"] in (None, s.manifest.version)
            and s.id.startswith(match["id"] or "")
            and (s.latest or match["id"])
        ]
        if not found:
            known = {f"{s.manifest.name}@{s.manifest.version}" for s in self.bundles()}
            raise SprueError(
                f"there is no bundle '{reference}'",
                where=str(self.folder),
                remedy=did_you_mean(reference, known),
            )
        if match["id"] and len({s.id for s in found}) > 1:
            raise SprueError(
                f"'{reference}' is the beginning of {len(found)} ids",
                where=str(self.folder),
                remedy=f"write more digits: {', '.join(sorted(s.id[:20] for s in found))}",
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


def _is_whole(folder: Path, ident: str) -> bool:
    try:
        check_bundle(folder, ident)
    except CheckError:
        return False
    return True


def _order(version: str) -> tuple[tuple[int, ...], bool, list[tuple[bool, int, str]]]:
    """Semantic versions in their order (semver.org, 11): a pre-release comes before its release, and its
    numbers compare as numbers, before words."""
    core, dash, pre = version.partition("-")
    parts = [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in pre.split(".")]
    return tuple(int(p) for p in core.split(".")), not dash, parts
