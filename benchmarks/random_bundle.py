"""A bundle of random files of many sizes: what the speed of a disk and of sha256 is measured with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sprue.bundle.freeze import freeze

MEBI = 1 << 20
SIZES = (MEBI, 4 * MEBI, 16 * MEBI, 64 * MEBI)
"""Bytes of files: each size takes the same part of the whole."""
FIELDS: dict[str, Any] = {
    "name": "bench", "version": "1.0.0", "source": {"revision": None, "digest": "a" * 64}, "recipe": "b" * 64,
    "toolchain": {}, "createdAt": None, "targets": [], "metrics": {}, "licenses": [], "parents": [],
}  # fmt: skip


def fill(folder: Path, least: int) -> list[int]:
    """Makes the bundle, of at least so many bytes; the sizes of its random files."""
    sizes: list[int] = []
    (folder / "model").mkdir(parents=True)
    while sum(sizes) < least:
        sizes += [size for size in SIZES for _ in range(max(SIZES) // size)]
    for number, size in enumerate(sizes):
        (folder / "model" / f"{number}.bin").write_bytes(os.urandom(size))
    freeze(folder, FIELDS)
    return sizes
