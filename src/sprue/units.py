"""Sizes, times and counts as people read them, with the unit that fits."""

from __future__ import annotations

SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))
TIMES = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))


def size(count: int | None) -> str:
    """Bytes with a binary unit; "" for None."""
    if count is None:
        return ""
    unit, factor = next((u, f) for u, f in SIZES if count >= f or f == 1)
    return f"{count} B" if factor == 1 else f"{count / factor:.1f} {unit}"


def seconds(value: float | None) -> str:
    """A duration, three digits; "" for None."""
    if value is None:
        return ""
    unit, factor = next((u, f) for u, f in TIMES if value >= f or u == "ns")
    if unit == "ns":
        return f"{value / factor:.0f} ns"
    return f"{value / factor:#.3g}".rstrip(".") + f" {unit}"


def count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
