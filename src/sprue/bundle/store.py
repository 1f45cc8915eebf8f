"""The local store: a folder of bundles. Nothing in it is ever changed, only added or removed as a whole.

<store>/<name>/<version>-<first 12 digits of the id>/   a bundle, its files linked to blobs (see blobs.py)
<store>/<name>/<version>.json                           the id that <name>@<version> means: the latest one
<store>/<name>/tags/<tag>.json                          what <name>:<tag> means (see tags.py)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sprue.bundle.beside import SIGNATURE
from sprue.bundle.blobs import BLOBS, holders, share
from sprue.bundle.check import Damaged, Proof, check_bundle, read_bundle_manifest
from sprue.bundle.manifest import Manifest
from sprue.bundle.reference import Reference, order, read_reference
from sprue.bundle.tags import existing_tag, read_tags
from sprue.canonical import canonical, read_json
from sprue.durable import locked, owned_folder, sweep, sync_folder, sync_tree, write_file
from sprue.errors import CheckError, SprueError, did_you_mean

STAGING = ".staging-"
EMPTY = "the store is empty: `sprue build` and `sprue pull` put bundles into it; --store names another"
PULLING = ".pull-"
"""How folders begin in which pulls are put together: they stay when a pull dies, so that it can go on."""


@dataclass(frozen=True)
class Stored:
    """A bundle in the store."""

    folder: Path
    manifest: Manifest
    id: str
    latest: bool

    @property
    def reference(self) -> str:
        """What means this bundle now, and not another of its version."""
        known = f"{self.manifest.name}@{self.manifest.version}"
        return known if self.latest else f"{known}#{self.id[:12]}"


class Store:
    """The store in `folder`, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder on the store's file system to put a bundle together in; gone at the end of the block."""
        sweep(self.folder, STAGING)
        with owned_folder(self.folder, STAGING) as folder:
            folder.chmod(0o755)
            yield folder

    def place(self, manifest: Manifest) -> Path:
        """Where a bundle lies, or will."""
        return self.folder / manifest.name / f"{manifest.version}-{manifest.id()[:12]}"

    def keep(self, staged: Path, manifest: Manifest, *, latest: bool = True) -> Path:
        """Move a frozen bundle into its place. One that is there already stays, unless it is damaged.

        `latest`: it is what <name>@<version> means from now on.
        """
        ident, place = manifest.id(), self.place(manifest)
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.parent):
            if place.exists() and not is_whole(place, ident):
                with owned_folder(self.folder, STAGING) as aside:
                    place.rename(aside / "damaged")
            if not place.exists():
                share(self.folder, staged, {f.path: f.sha256 for f in manifest.files})
                sync_tree(staged)
                staged.rename(place)
                sync_folder(place.parent)
            if latest:
                write_file(place.parent / f"{manifest.version}.json", canonical({"id": ident}))
        return place

    def bundles(self) -> list[Stored]:
        """All bundles, by name and version, the latest of each first. Raises CheckError for a damaged one."""
        return self._read("*")

    def named(self, name: str) -> list[Stored]:
        """The bundles of one name, in the same order."""
        return self._read(name)

    def _read(self, name: str) -> list[Stored]:
        found = []
        for folder in self._folders(name):
            manifest = read_bundle_manifest(folder)
            ident = manifest.id()
            found.append(
                Stored(folder, manifest, ident, ident == self._latest(manifest.name, manifest.version))
            )
        return sorted(found, key=lambda s: (s.manifest.name, order(s.manifest.version), not s.latest, s.id))

    def _folders(self, name: str) -> Iterator[Path]:
        for folder in sorted(self.folder.glob(f"{name}/*-*/")):
            if not folder.parent.name.startswith(".") and not folder.name.startswith("."):
                yield folder

    def find(self, reference: str) -> Stored:
        """What a reference means, see reference.py. Raises SprueError when there is no such bundle."""
        asked = read_reference(reference)
        tagged = None if asked.tag is None else existing_tag(self.folder, asked.name, asked.tag).current
        found = [s for s in self._read(asked.name) if self._means(asked, s, tagged.id if tagged else None)]
        if not found and tagged is not None:
            raise CheckError(
                f"'{asked.name}:{asked.tag}' means a bundle that is gone: {tagged.version}#{tagged.id}",
                where=str(self.folder),
                remedy=f"import it again, or: sprue bundle rollback {asked.name} {asked.tag}",
            )
        beside = [s for s in self._read(asked.name) if asked.version in (None, s.manifest.version)]
        if not found and beside and not asked.id:
            raise SprueError(
                f"there is no whole build '{reference}', only parts or superseded ones",
                where=str(self.folder),
                remedy=f"name one: {', '.join(s.reference for s in beside)}",
            )
        if not found:
            known = {s.reference for s in self.bundles()}
            raise SprueError(
                f"there is no bundle '{reference}'",
                where=str(self.folder),
                remedy=did_you_mean(reference, known, none=EMPTY),
            )
        if asked.id and len({s.id for s in found}) > 1:
            raise SprueError(
                f"'{reference}' is the beginning of {len(found)} ids",
                where=str(self.folder),
                remedy=f"write more digits: {', '.join(sorted(s.id[:20] for s in found))}",
            )
        return found[-1]

    def _means(self, asked: Reference, stored: Stored, tagged: str | None) -> bool:
        return (
            stored.manifest.name == asked.name
            and asked.version in (None, stored.manifest.version)
            and tagged in (None, stored.id)
            and stored.id.startswith(asked.id)
            and bool(stored.latest or asked.id or tagged)
        )

    def check(self, stored: Stored) -> Proof:
        """Hash every file. Raises CheckError as `check_shared` does."""
        return check_shared(stored.folder, stored.id)

    def holders(self, folder: Path, files: tuple[str, ...]) -> list[str]:
        """The other bundles of the store that hold one of these files of the bundle in `folder`."""
        found = []
        for place in self._folders("*"):
            if place.samefile(folder):
                continue
            with suppress(CheckError):
                manifest = read_bundle_manifest(place)
                theirs = {f.path: place / f.path for f in manifest.files}
                if any(holders(folder / path, theirs) for path in files):
                    found.append(f"{manifest.name}@{manifest.version}#{manifest.id()[:12]}")
        return found

    def remove(self, stored: Stored) -> None:
        """Take a bundle out of the store, at once. Raises SprueError when a tag means it."""
        name, version = stored.manifest.name, stored.manifest.version
        with locked(stored.folder.parent):
            tags = [t.tag for t in read_tags(self.folder, name) if t.current and t.current.id == stored.id]
            if tags:
                raise SprueError(
                    f"'{stored.reference}' is tagged {', '.join(tags)}",
                    where=str(self.folder),
                    remedy=f"move the tag first, or: sprue bundle tag --remove {name}:{tags[0]}",
                )
            if self._latest(name, version) == stored.id:
                (stored.folder.parent / f"{version}.json").unlink()
            with owned_folder(self.folder, STAGING) as aside:
                stored.folder.rename(aside / "removed")
                for signature in stored.folder.parent.glob(f"{stored.folder.name}.*{SIGNATURE}"):
                    signature.rename(aside / signature.name)

    def _latest(self, name: str, version: str) -> str | None:
        try:
            value = read_json(self.folder / name / f"{version}.json")
        except (OSError, ValueError):
            return None
        return value.get("id") if isinstance(value, dict) else None


def check_shared(folder: Path, expected_id: str | None = None) -> Proof:
    """Hash every file of the bundle in `folder`.

    Raises CheckError. If the bundle lies in a store, it names the others that hold the same damaged files.
    """
    try:
        return check_bundle(folder, expected_id)
    except Damaged as error:
        store = Store(folder.resolve().parent.parent)
        also = store.holders(folder, error.files) if (store.folder / BLOBS).is_dir() else []
        if not also:
            raise
        said = f"{error.what}; the same damaged file is in {', '.join(also)}"
        raise Damaged(said, where=error.where, remedy=error.remedy, files=error.files) from error


def is_whole(folder: Path, ident: str) -> bool:
    """Whether the bundle `ident` lies in `folder`, every byte of it."""
    try:
        check_bundle(folder, ident)
    except CheckError:
        return False
    return True
