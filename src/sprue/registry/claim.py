"""Setting a ref once where the place itself would let anybody overwrite it.

docker-registry 2.8 and plain HTTP servers ignore If-None-Match. So: look, write, wait, look again; what is
there then has won, and who sees something else is told. All who looked before the first one wrote have
written when the wait is over, if none of them stalled for longer than it in between. Places that do honour
If-None-Match refuse the second writer at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sprue.registry.protocol import ANYTHING, Descriptor, Taken

SETTLE = 0.3
"""Seconds to wait at least; else SLOWER times as long as looking and writing took."""
SLOWER = 4


def claim(
    ref: str,
    what: Descriptor,
    instead_of: Descriptor | None,
    *,
    resolve: Callable[[str], Descriptor | None],
    write: Callable[[], None],
    where: str,
) -> None:
    """`resolve` and `write` are the place's. Raises Taken."""
    if instead_of == ANYTHING:
        write()
        return
    began = time.monotonic()
    there = resolve(ref)
    if there == what:
        return
    if there in (None, instead_of):
        write()
    # Also before telling somebody who has won: that may not be settled yet.
    time.sleep(max(SETTLE, SLOWER * (time.monotonic() - began)))
    there = resolve(ref)
    if there != what:
        raise Taken(ref, there, where)
