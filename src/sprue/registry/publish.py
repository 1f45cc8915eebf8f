"""Publishing a bundle: blobs, then manifests, then the index, all by digest; the ref last, and once.

Until the ref is there nobody sees anything, so a publisher may die anywhere. Who comes again finds what is
there by its digest and sends the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sprue.bundle.check import check_bundle, read_sums, sum_of_measurements
from sprue.bundle.manifest import MAX_MANIFEST_BYTES, MEASUREMENTS, Manifest
from sprue.errors import CheckError
from sprue.registry.attachments import attach
from sprue.registry.modelpack import Image, pack
from sprue.registry.protocol import Descriptor, Registry, Taken, Wrong
from sprue.registry.pull import find
from sprue.registry.transfer import in_parallel, put_missing


@dataclass(frozen=True)
class Published:
    """`new`: the version was not there. `signatures`: how many were attached that were not."""

    index: Descriptor
    manifest: Manifest
    new: bool
    signatures: int


def publish(folder: Path, registry: Registry, envelopes: Sequence[bytes] = ()) -> Published:
    """Check the bundle in `folder` and publish it as its version; its signatures too.

    Again, it changes nothing. A bundle with the same id but other measurements is the same bundle: those that
    were published first stay. Raises CheckError for a damaged bundle, Taken for a version that another has.
    """
    manifest = check_bundle(folder).manifest
    image = pack_folder(folder, manifest)
    index = image.index[0]
    before = _same_bundle(registry, registry.resolve(manifest.version), manifest)
    if before is None:
        push(image, folder, registry)
    there = before or commit_version(registry, manifest, index)
    return Published(there, manifest, before is None, attach(registry, there, envelopes))


def pack_folder(folder: Path, manifest: Manifest) -> Image:
    """What the bundle in `folder`, which is whole, is in a registry."""
    sha = sum_of_measurements(read_sums(folder))
    size = (folder / MEASUREMENTS).stat().st_size if sha else 0
    if size > MAX_MANIFEST_BYTES:
        raise CheckError(f"{MEASUREMENTS} is larger than {MAX_MANIFEST_BYTES} bytes", where=str(folder))
    return pack(manifest, (size, sha) if sha else None)


def push(image: Image, folder: Path, registry: Registry) -> None:
    """Put everything of a bundle by digest; no ref means it yet."""
    tasks = []
    for blob in image.blobs:
        content = folder / blob.source if isinstance(blob.source, str) else blob.source
        tasks.append(partial(put_missing, registry, blob.what, content))
    in_parallel(tasks)
    in_parallel(partial(put_missing, registry, what, data) for what, data in image.manifests)
    put_missing(registry, *image.index)


def commit_version(registry: Registry, manifest: Manifest, index: Descriptor) -> Descriptor:
    """Let the bundle's version mean `index`, which is there. What it means now: `index`, or what somebody
    published meanwhile if that is the same bundle. Raises Taken."""
    try:
        registry.commit(manifest.version, index)
    except Taken as taken:
        there = _same_bundle(registry, taken.found, manifest)
        if there is None:
            raise
        return there
    return index


def _same_bundle(registry: Registry, there: Descriptor | None, manifest: Manifest) -> Descriptor | None:
    """`there` if it is this bundle, None if it is nothing. Raises Taken if it is another."""
    if there is None:
        return None
    try:
        same = find(registry, f"sha256:{there.sha256}").manifest.id() == manifest.id()
    except Wrong:
        same = False
    if not same:
        raise Taken(manifest.version, there, f"{manifest.name}@{manifest.version}")
    return there
