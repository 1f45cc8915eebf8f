"""Pulling a bundle, or the part of it that is needed. Only manifest.json and its digests are believed.

A full pull is put together in the store, in `.pull-<id>`, where a killed one goes on; it comes into its
place by one rename, like every bundle. A partial pull is a folder with the files that were asked for, the
bundle's manifest as `manifest.partial.json` (its sha256 is the bundle's id, but no reader takes the folder
for a bundle), and a SHA256SUMS of just those files. Signatures are held against a policy before a byte of
a file is fetched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sprue.bundle.beside import SIGNATURE
from sprue.bundle.blobs import blob_path
from sprue.bundle.hashing import hash_files
from sprue.bundle.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MEASUREMENTS,
    SUMS,
    File,
    Manifest,
    read_manifest,
    sums,
)
from sprue.bundle.receive import Approve, Received, keep_received
from sprue.bundle.store import PULLING, Store, is_whole
from sprue.canonical import digest, parse
from sprue.durable import resumable_folder, sync_file, sync_tree, write_file
from sprue.errors import CheckError, SprueError, did_you_mean
from sprue.registry.attachments import attached
from sprue.registry.documents import read_index, read_layers
from sprue.registry.modelpack import FILEPATH, PART
from sprue.registry.protocol import INDEX, UNKNOWN, Absent, Descriptor, Registry, Wrong
from sprue.registry.transfer import AT_ONCE, fetch, in_parallel, read_small
from sprue.registry.transfer import PART as PART_SUFFIX

PARTIAL = "manifest.partial.json"


@dataclass(frozen=True)
class Found:
    """A published bundle. `extra`: SHA256SUMS and the measurements, which the manifest does not name."""

    index: Descriptor
    manifest: Manifest
    extra: dict[str, Descriptor]
    signatures: tuple[bytes, ...]


def find(registry: Registry, ref: str, *, signatures: bool = False) -> Found:
    """What a version, or `sha256:<hex>` of an index, means. Raises CheckError if that is no bundle."""
    if ref.startswith("sha256:"):
        index: Descriptor | None = Descriptor(INDEX, ref.removeprefix("sha256:"), UNKNOWN)
    else:
        index = registry.resolve(ref)
    if index is None:
        raise Absent(f"there is no version '{ref}'", remedy="sprue publish NAME@VERSION puts one there")
    if index.media_type != INDEX:
        raise Wrong(f"'{ref}' is no bundle but {index.media_type[:80]}")
    parts = [m for m in read_index(registry, index) if m.annotations.get(PART) == "bundle"]
    layers = {x.annotations.get(FILEPATH): x for part in parts[:1] for x in read_layers(registry, part)}
    if MANIFEST not in layers:
        raise Wrong(f"'{ref}' is no bundle: no manifest of it holds {MANIFEST}")
    manifest = read_manifest(
        read_small(registry, layers[MANIFEST], MAX_MANIFEST_BYTES), f"{MANIFEST} of {ref}"
    )
    extra = {name: layers[name] for name in (SUMS, MEASUREMENTS) if name in layers}
    return Found(index, manifest, extra, tuple(attached(registry, index)) if signatures else ())


def select(manifest: Manifest, targets: Collection[str], roles: Collection[str]) -> list[File]:
    """The files of these targets and roles. Targets alone: what is of them. Roles alone: of every target.

    Both: files of these roles that are of these targets, or of none. Raises SprueError if there are none.
    """
    where = f"{manifest.name}@{manifest.version}"
    for name, asked, known in (
        ("target", targets, {t.id for t in manifest.targets}),
        ("role", roles, {f.role for f in manifest.files}),
    ):
        if unknown := sorted(set(asked) - known):
            raise SprueError(f"no {name} '{unknown[0]}'", where=where, remedy=did_you_mean(unknown[0], known))
    chosen = [
        f
        for f in manifest.files
        if (not roles or f.role in roles)
        and (not targets or f.target in targets or (roles and f.target is None))
    ]
    if not chosen:
        asked = ", ".join([*targets, *roles])
        raise SprueError(f"no file is of {asked}", where=where, remedy="leave one of them out")
    return chosen


def pull_bundle(registry: Registry, found: Found, store: Store, approve: Approve | None = None) -> Received:
    """Let the whole bundle into the store when all of it is right. Raises CheckError, SprueError."""
    manifest, place = found.manifest, store.place(found.manifest)
    _approve(found, approve)
    with resumable_folder(store.folder / f"{PULLING}{manifest.id()}") as folder:
        bundle = folder / "bundle"
        if is_whole(place, manifest.id()):
            _keep_signatures(found.signatures, place)
            return keep_received(store, bundle, manifest)
        _fetch_all(registry, _contents(manifest.files) | found.extra, bundle, store.folder)
        write_file(bundle / MANIFEST, manifest.to_bytes())
        measured = found.extra.get(MEASUREMENTS)
        if (bundle / SUMS).read_bytes() != sums(manifest, measured.sha256 if measured else None):
            (bundle / SUMS).unlink()
            raise Wrong(
                f"{SUMS} does not agree with the manifest", where=f"{manifest.name}@{manifest.version}"
            )
        _keep_signatures(found.signatures, place)
        return keep_received(store, bundle, manifest)


def pull_files(
    registry: Registry, found: Found, files: Iterable[File], out: Path, approve: Approve | None = None
) -> bool:
    """Lay some files of a bundle out in the folder `out`. False if just these are there already, and right.

    Raises SprueError if something else is there, CheckError.
    """
    wanted, manifest = list(files), found.manifest
    listed = {f.path: f.sha256 for f in wanted} | {PARTIAL: manifest.id()}
    sums_of_part = "".join(f"{listed[p]}  {p}\n" for p in sorted(listed)).encode()
    if out.exists() and not _is_part(out, listed, sums_of_part):
        raise SprueError("it exists already", where=str(out), remedy="name a folder that is to be made")
    _approve(found, approve)
    with resumable_folder(out.absolute().with_name(f".{out.name}{PULLING}{manifest.id()[:12]}")) as folder:
        made = folder / "bundle"
        if new := not out.exists():
            _fetch_all(registry, _contents(wanted), made, None)
            write_file(made / PARTIAL, manifest.to_bytes())
            write_file(made / SUMS, sums_of_part)
        _keep_signatures(found.signatures, out.absolute())
        if new:
            sync_tree(made)
            made.rename(out)
    return new


def _is_part(folder: Path, listed: dict[str, str], sums_of_part: bytes) -> bool:
    """Whether just these files (path -> sha256) lie in a folder, and SHA256SUMS."""
    expected = {folder / path: sha for path, sha in listed.items()} | {folder / SUMS: digest(sums_of_part)}
    there = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    if there != expected.keys():
        return False
    hashed = hash_files(there)
    return all(isinstance(seen := hashed[p], tuple) and seen[1] == sha for p, sha in expected.items())


def _contents(files: Iterable[File]) -> dict[str, Descriptor]:
    return {f.path: Descriptor("application/octet-stream", f.sha256, f.size) for f in files}


def _approve(found: Found, approve: Approve | None) -> None:
    """In a folder of its own: who is refused leaves nothing in the store."""
    if approve is None:
        return
    known = f"{found.manifest.name}@{found.manifest.version}"
    with tempfile.TemporaryDirectory(prefix="sprue-signatures-") as folder:
        _keep_signatures(found.signatures, Path(folder, "bundle"))
        try:
            approve(Path(folder, "bundle"), found.manifest)
        except CheckError as error:
            if error.where.startswith(folder):
                error.where = f"{known} as published"
            raise


def _keep_signatures(envelopes: Iterable[bytes], bundle: Path) -> None:
    """Beside a bundle, as `sprue bundle sign` names them."""
    for envelope in envelopes:
        try:
            there = parse(envelope)
        except (ValueError, RecursionError):
            continue
        if isinstance(there, dict) and {"payload", "payloadType", "signatures"} <= there.keys():
            write_file(bundle.parent / f"{bundle.name}.{digest(envelope)[:16]}{SIGNATURE}", envelope + b"\n")


def _fetch_all(registry: Registry, files: dict[str, Descriptor], folder: Path, store: Path | None) -> None:
    """Every file, each proven. What is there and right stays, what is not expected goes."""
    paths = {folder / path: what for path, what in files.items()}
    _remove_others(folder, paths)
    there = hash_files(path for path in paths if path.exists())
    missing = {path: what for path, what in paths.items() if there.get(path) != (what.size, what.sha256)}
    for path in missing:
        path.unlink(missing_ok=True)
    if store is not None:
        missing = _take_from_store(store, missing)
    first: dict[str, Path] = {}
    for path, what in missing.items():
        first.setdefault(what.sha256, path)
    largest_first = sorted(first.values(), key=lambda p: -missing[p].size)
    with ThreadPoolExecutor(AT_ONCE) as disk:  # so that it writes while others are fetched, not at the end
        synced: list[Future[None]] = []

        def fetch_one(path: Path) -> None:
            fetch(registry, missing[path], path)
            synced.append(disk.submit(sync_file, path))

        in_parallel(partial(fetch_one, path) for path in largest_first)
        for done in synced:
            done.result()
    for path, what in missing.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(first[what.sha256], path)


def _remove_others(folder: Path, expected: Collection[Path]) -> None:
    kept = {*expected, *(p.with_name(p.name + PART_SUFFIX) for p in expected)}
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in [*files, *folders]:
            path = Path(parent, name)
            if path.is_symlink() or (path not in kept and path.is_file()):
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _take_from_store(store: Path, missing: dict[Path, Descriptor]) -> dict[Path, Descriptor]:
    """Copy what other bundles of the store have already; what is still missing."""
    blobs = {path: blob_path(store, what.sha256) for path, what in missing.items()}
    hashed = hash_files(blob for blob in set(blobs.values()) if blob.exists())
    here = {p for p, what in missing.items() if hashed.get(blobs[p]) == (what.size, what.sha256)}
    for path in here:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(blobs[path], path)
    return {path: what for path, what in missing.items() if path not in here}
