"""The machine that a build runs on: what its measurements and its floating-point results depend on."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

ISA_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "sve",
)


@cache
def processor() -> str:
    """The processor's name and the ISA features that numeric libraries choose their code by."""
    name, flags = "", set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            field, _, value = line.partition(":")
            if field.strip() == "model name":
                name = value.strip()
            if field.strip() in ("flags", "Features"):
                flags |= set(value.split())
                break
    except OSError:
        pass
    known = [flag for flag in ISA_FLAGS if flag in flags]
    name = name or platform.processor() or platform.machine()  # which on Linux asks another program
    return f"{platform.machine()} {name} {' '.join(known)}".strip()


def fingerprint() -> str:
    """What a time measurement belongs to: processor, cores and operating system."""
    return f"{processor()}, {cores()} cores, {platform.system()} {platform.release()}"


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
