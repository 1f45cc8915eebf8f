"""Sizes, durations, shares and clocks as people write them: "64 KiB", "20GB", "30d", "2 %", "120 MHz"."""

from __future__ import annotations

import re
from decimal import Decimal

_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_HERTZ = {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}
_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,9})?)"
SIZE = rf"{_NUMBER}\s*({'|'.join(_BYTES)})"
"""What `parse_size` accepts, as a regular expression."""
SHARE = rf"{_NUMBER}\s*%"
"""What `parse_share` accepts, as a regular expression."""
FREQUENCY = rf"{_NUMBER}\s*({'|'.join(_HERTZ)})"
"""What `parse_frequency` accepts, as a regular expression."""


def parse_size(text: object) -> int:
    """`"64 KiB"` -> 65536. A plain number is bytes. Raises ValueError naming the units."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = re.fullmatch(SIZE, text.strip()) if isinstance(text, str) else None
    if match is None:
        units = ", ".join(u for u in _BYTES if u)
        raise ValueError(f'a size is a number and a unit, such as "64 KiB"; units: {units}')
    return int(Decimal(match[1]) * _BYTES[match[2]])


def parse_duration(text: str) -> float:
    """`"30d"` -> seconds. Raises ValueError naming the units."""
    match = re.fullmatch(rf"{_NUMBER}\s*({'|'.join(_SECONDS)})", text.strip())
    if match is None:
        raise ValueError(f'a duration is a number and a unit, such as "30d"; units: {", ".join(_SECONDS)}')
    return float(Decimal(match[1]) * _SECONDS[match[2]])


def parse_share(text: object) -> float:
    """`"2 %"` -> 0.02. A plain number is a share already. Raises ValueError."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    match = re.fullmatch(SHARE, text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError('a share is written "2 %" or 0.02')
    return float(Decimal(match[1]) / 100)


def parse_frequency(text: object) -> int:
    """`"120 MHz"` -> 120000000. Raises ValueError naming the units."""
    match = re.fullmatch(FREQUENCY, text.strip()) if isinstance(text, str) else None
    hertz = int(Decimal(match[1]) * _HERTZ[match[2]]) if match else 0
    if hertz < 1:
        raise ValueError(f'a clock is a number and a unit, such as "120 MHz"; units: {", ".join(_HERTZ)}')
    return hertz
