"""How much memory processes use, and how much there is. On Linux; elsewhere nothing is known or limited."""

from __future__ import annotations

import os
from pathlib import Path

SHARE = 0.9
"""Of the memory that is available when a build starts, what its workers may use unless told otherwise."""


def resident(pid: int) -> int:
    """Bytes of physical memory of a process and all that it started; 0 if it is gone or nothing is known."""
    total, waiting = 0, [pid]
    while waiting:
        current = waiting.pop()
        try:
            total += int(Path(f"/proc/{current}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            waiting += map(int, Path(f"/proc/{current}/task/{current}/children").read_text().split())
        except (OSError, ValueError, IndexError):
            continue
    return total


def default_budget() -> int | None:
    """Bytes. None where the system does not say what is available."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(int(line.split()[1]) * 1024 * SHARE)
    except (OSError, ValueError, IndexError):
        pass
    return None
