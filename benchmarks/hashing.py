"""How fast is `sprue cache verify`, held against hashlib's sha256 over bytes that lie in memory?

The cache holds blobs of the sizes of small and mid-sized models, 512 MiB together, in the page cache. Rounds
alternate; the rate of the verification includes finding the blobs and reading every entry. "of CPU time" is
what one core does when nothing else wants it: on a shared machine the other rate tells of the neighbours.

    python benchmarks/hashing.py [--rounds 5] [--mebibytes 512]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from pathlib import Path

from sprue.canonical import canonical, digest
from sprue.engine.audit import audit
from sprue.engine.cache import Cache
from sprue.machine import cores, fingerprint

MEBI = 1 << 20
BASE = "hashlib, one core"
SIZES = (64 << 10, 256 << 10, MEBI, 4 * MEBI, 16 * MEBI)
"""Bytes of the files of one entry: each size takes the same part of the whole."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=512)
    arguments = parser.parse_args()
    kinds = {BASE: 0, **{f"verify, {n} threads": n for n in sorted({1, cores()})}}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    efforts: dict[str, list[float]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        fill(cache, arguments.mebibytes * MEBI)
        total = audit(cache, 1).size
        data = os.urandom(64 * MEBI)
        for _ in range(arguments.rounds):
            for name, threads in kinds.items():
                started, began = time.process_time(), time.perf_counter()
                hashed = verified(cache, threads) if threads else raw(data, total)
                rates[name].append(hashed / (time.perf_counter() - began))
                efforts[name].append(hashed / (time.process_time() - started))
    print(f"{fingerprint()}; medians of {arguments.rounds}, {total / MEBI:.0f} MiB")
    for name, found in rates.items():
        spread = f"{min(found) / MEBI:.0f} to {max(found) / MEBI:.0f}"
        ratio, effort = (statistics.median(r[name]) / statistics.median(r[BASE]) for r in (rates, efforts))
        rate = statistics.median(found) / MEBI
        print(f"  {name:18} {rate:6.0f} MiB/s  ({spread})  ratio {ratio:.2f}, of CPU time {effort:.2f}")


def fill(cache: Cache, total: int) -> None:
    """Entries of random bytes, `total` of them together."""
    made = number = 0
    while made < total:
        with cache.workspace() as work:
            out = work / "out"
            out.mkdir()
            for size in SIZES:
                for i in range(max(SIZES) // size):
                    (out / f"{size}-{i}").write_bytes(os.urandom(size))
                    made += size
            named = {"function": "benchmark:fill", "number": str(number)}
            cache.add(digest(canonical(named)), f"fill {number}", named, out, 0.0)
        number += 1


def raw(data: bytes, total: int) -> int:
    """Hash about `total` bytes with hashlib alone."""
    turns = -(-total // len(data))
    for _ in range(turns):
        hashlib.sha256(data).digest()
    return turns * len(data)


def verified(cache: Cache, threads: int) -> int:
    found = audit(cache, threads)
    assert found.ok
    return found.size


if __name__ == "__main__":
    main()
