"""How fast are bundles exported and verified, and how small are siblings stored?

Export is held against `tar c` of the same folder to the same disk, verification against hashlib's sha256 of
bytes in memory; rounds alternate. A bundle of files of the sizes of small and mid-sized models lies in the
page cache. Then ten siblings, each with one file of twenty changed, are kept in a store and counted by `du`.

    python benchmarks/bundles.py [--rounds 5] [--mebibytes 1024] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sprue.bundle.archive import export_bundle
from sprue.bundle.check import check_bundle
from sprue.bundle.freeze import freeze
from sprue.bundle.store import Store
from sprue.machine import cores, fingerprint

MEBI = 1 << 20
SIZES = (MEBI, 4 * MEBI, 16 * MEBI, 64 * MEBI)
"""Bytes of files: each size takes the same part of the whole."""
FIELDS: dict[str, Any] = {
    "name": "bench", "version": "1.0.0", "source": {"revision": None, "digest": "a" * 64}, "recipe": "b" * 64,
    "toolchain": {}, "createdAt": None, "targets": [], "metrics": {}, "licenses": [], "parents": [],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: the temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bundle = Path(folder, "bundle")
        total = fill(bundle, arguments.mebibytes * MEBI)
        size = f"{total / MEBI:.0f} MiB in {len(list(bundle.rglob('*.bin')))} files"
        load = os.getloadavg()[0]
        print(f"{fingerprint()}; load {load:.1f}; medians of {arguments.rounds}, {size}")
        exports(bundle, total, arguments.rounds)
        verifications(bundle, total, arguments.rounds)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        siblings(Path(folder))


def exports(bundle: Path, total: int, rounds: int) -> None:
    """To a new file each time, as far as the page cache: neither syncs."""
    out = bundle.with_name("out.tar")

    def ours() -> None:
        with out.open("xb") as sink:
            export_bundle(bundle, sink, 0)

    def tar() -> None:
        subprocess.run(["tar", "cf", out, "-C", bundle.parent, bundle.name], check=True)

    rates = alternate({"tar c": tar, "export": ours}, total, rounds, lambda: out.unlink(missing_ok=True))
    tell(rates, "tar c", {"export": 0.7})


def verifications(bundle: Path, total: int, rounds: int) -> None:
    data = os.urandom(64 * MEBI)

    def raw() -> None:
        for _ in range(total // len(data)):
            hashlib.sha256(data).digest()

    kinds: dict[str, Callable[[], object]] = {"hashlib, one core": raw}
    for n in sorted({1, cores()}):
        kinds[f"verify, {n} threads"] = lambda n=n: check_bundle(bundle, threads=n)  # type: ignore[misc]  # n=n
    rates = alternate(kinds, total, rounds, lambda: None)
    tell(rates, "hashlib, one core", {"verify, 1 threads": 0.8, f"verify, {cores()} threads": 1.0})


def siblings(folder: Path) -> None:
    store = Store(folder / "store")
    for i in range(10):
        with store.staging() as staged:
            for j in range(20):
                changed = f"{i}-{j}" if j == i else str(j)
                path = staged / "model" / f"{j:02}.bin"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(hashlib.shake_128(changed.encode()).digest(MEBI))
            store.keep(staged, freeze(staged, FIELDS | {"version": f"1.0.{i}"}))
        if i == 0:
            one = du(store.folder)
    print(f"  ten siblings with 5 % changed   {du(store.folder) / one:.2f} times one  (aim: at most 1.6)")


def fill(folder: Path, total: int) -> int:
    made = 0
    (folder / "model").mkdir(parents=True)
    while made < total:
        for size in SIZES:
            for i in range(max(SIZES) // size):
                (folder / "model" / f"{made}-{i}.bin").write_bytes(os.urandom(size))
                made += size
    freeze(folder, FIELDS)
    return made


def alternate(
    kinds: dict[str, Callable[[], object]], total: int, rounds: int, between: Callable[[], object]
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, run in kinds.items():
            between()
            began = time.perf_counter()
            run()
            rates[name].append(total / (time.perf_counter() - began))
    between()
    return rates


def tell(rates: dict[str, list[float]], base: str, aims: dict[str, float]) -> None:
    for name, found in rates.items():
        rate, spread = statistics.median(found) / MEBI, f"{min(found) / MEBI:.0f} to {max(found) / MEBI:.0f}"
        ratio = statistics.median(found) / statistics.median(rates[base])
        aim = f"  (aim: {aims[name]:.2f} or more)" if name in aims else ""
        print(f"  {name:18} {rate:6.0f} MiB/s  ({spread})  ratio {ratio:.2f}{aim}")


def du(folder: Path) -> int:
    done = subprocess.run(["du", "-s", "--block-size=1", folder], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


if __name__ == "__main__":
    main()
