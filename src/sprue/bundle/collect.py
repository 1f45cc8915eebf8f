"""Taking out of a store what nobody needs: the work of the dead, unused blobs and, if asked, old bundles."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from sprue.bundle.blobs import unused
from sprue.bundle.store import PULLING, STAGING, Store, Stored
from sprue.bundle.tags import all_tags
from sprue.durable import sweep


@dataclass(frozen=True)
class Collected:
    """References of the bundles, and the number and bytes of the blobs, that were removed."""

    bundles: tuple[str, ...]
    blobs: int
    size: int


def collect(store: Store, *, superseded: bool = False, dry_run: bool = False) -> Collected:
    """Remove what nothing refers to. Others may read and write the store meanwhile.

    `superseded`: also the bundles that are neither the latest of their version, nor tagged, nor what a
    rollback could reach, nor parents of one that stays. Raises CheckError for a damaged bundle or tag then:
    what refers to what must be known.
    """
    old = _superseded(store) if superseded else []
    if not dry_run:
        sweep(store.folder, STAGING)
        sweep(store.folder, PULLING)
        for stored in old:
            store.remove(stored)
    blobs = size = 0
    for path, count in unused(store.folder):
        blobs, size = blobs + 1, size + count
        if not dry_run:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
    return Collected(tuple(s.reference for s in old), blobs, size)


def _superseded(store: Store) -> list[Stored]:
    there = {s.id: s for s in store.bundles()}
    waiting = [s.id for s in there.values() if s.latest]
    for name in {s.manifest.name for s in there.values()}:
        waiting += [move.id for tag in all_tags(store.folder, name) for move in tag.stack if move.id]
    kept: set[str] = set()
    while waiting:
        ident = waiting.pop()
        if ident not in kept and ident in there:
            kept.add(ident)
            waiting += there[ident].manifest.parents
    return [s for s in there.values() if s.id not in kept]
