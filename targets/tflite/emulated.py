"""The same file on the processor that phones have: aarch64, emulated by QEMU, when a root for it is there.

`SPRUE_AARCH64_ROOT` names a folder with a Debian userland for arm64 and a TFLite runtime, made by
`targets/tflite/aarch64_root.sh`. Then every verification of a file for an aarch64 target also runs its first
samples there, and fails if the answers are others. ai-edge-litert 1.4.0 and tflite-runtime 2.14.0 run under
QEMU 7.2; ai-edge-litert 2.3.0 crashes. So what is verified here is said with the version of the runtime.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sprue.errors import CheckError, SprueError

from .elsewhere import Place, execute

if TYPE_CHECKING:
    from sprue.target import Precision

    from .artifact import Contents
    from .run import Arrays

VARIABLE = "SPRUE_AARCH64_ROOT"
QEMU = "qemu-aarch64-static"
PROCESSOR = "cortex-a72"
ARCH = "aarch64"
SAMPLES = 4
"""Portions that are run: starting the emulated Python takes seconds, a large network more."""
INSTALL = f"apt-get install qemu-user-static, targets/tflite/aarch64_root.sh FOLDER, {VARIABLE}=FOLDER"
LIMITS: dict[Precision, float] = {
    "float32": 1e-4, "float16": 1e-3, "int8-dynamic": 0.02, "int8-static": 0.02,
}  # fmt: skip
"""The largest difference as a part of the largest value. Other vector units add in another order; where that
moves an activation across the border between two steps of int8, it is a step that differs."""


def root() -> Path | None:
    """None when nobody named one."""
    named = os.environ.get(VARIABLE, "")
    return Path(named) if named else None


def runtime() -> str:
    """What stands in the root, by its metadata folder; "" if there is no root. Cheap: for keys of actions."""
    place = root()
    if place is None:
        return ""
    found = place.glob("usr/lib/python3/dist-packages/*-*.dist-info")
    names = sorted(
        p.name.removesuffix(".dist-info") for p in found if p.name.startswith(("ai_edge", "tflite"))
    )
    return ", ".join(names) or "nothing"


def note(
    data: bytes, held: Contents, phone: Precision | None, first: list[tuple[Arrays, Arrays]], where: str
) -> dict[str, str]:
    """What to note of a file of precision `phone` for an aarch64 target; {} for files of other targets.

    `first`: samples, and this machine's own answers to them.

    Raises CheckError when they differ by more than LIMITS, SprueError when it does not run there.
    """
    if phone is None or platform.machine() == ARCH:
        return {}
    place = root()
    if place is None:
        return {ARCH: f"not run on {ARCH}: {VARIABLE} names no root (docs/mobile.md)"}
    pythons = sorted(place.glob("usr/bin/python3.*"))
    if not pythons:
        raise SprueError(f"{VARIABLE} names a folder without a Python", where=str(place), remedy=INSTALL)
    command = [QEMU, "-cpu", PROCESSOR, "-L", str(place), str(pythons[0])]
    refused = f"unset {VARIABLE}, or build for the runtime that it has"
    there = Place(command, f"emulated {ARCH}", INSTALL, refused)
    done = execute(there, data, held, 1, [given for given, _ in first], where)
    pairs = zip(done.outputs, (made for _, made in first), strict=True)
    worst = max((_difference(a, e) for a, e in pairs), default=0.0)
    by = f"emulated {done.arch} by {done.runtime} {done.version} (QEMU, {PROCESSOR})"
    if not worst <= LIMITS[phone]:
        raise CheckError(
            f"on {by} its outputs differ by {worst:.1e} of the largest value",
            where=where,
            remedy=f"allowed for {phone}: {LIMITS[phone]:g}; choose another precision",
        )
    if not first:
        return {ARCH: f"loaded, not run, on {by}"}
    return {ARCH: f"verified on {by}: {len(first)} samples, outputs within {worst:.1e} of this machine's"}


def _difference(actual: Arrays, expected: Arrays) -> float:
    """As a part of the largest value; of int8, whose zero may be anywhere, of 128. NaN where only one side is
    finite.
    """
    found = 0.0
    for name, wanted in expected.items():
        a, e = (np.asarray(x, np.float64) for x in (actual[name], wanted))
        if not np.array_equal(np.isfinite(a), np.isfinite(e)):
            return float("nan")
        finite = np.isfinite(e)
        if finite.any():
            largest = 128.0 if wanted.dtype == np.int8 else float(np.abs(e[finite]).max())
            scale = max(largest, float(np.finfo(np.float32).tiny))
            found = max(found, float(np.abs(a[finite] - e[finite]).max()) / scale)
    return found
