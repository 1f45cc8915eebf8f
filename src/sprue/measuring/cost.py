"""What an inference costs besides time: bytes moved, an estimate of energy, and a price. Pure functions.

**Energy is an estimate**: published figures for a 45 nm chip at 0.9 V (M. Horowitz, "Computing's energy
problem", ISSCC 2014, figure 1.1.9), for arithmetic and memory alone. It ranks precisions and networks; it is
no forecast of a meter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sprue.measuring.price import Price
from sprue.measuring.timing import Timing
from sprue.measuring.work import Work
from sprue.target import Precision

PICO = 1e-12
WIDTHS: Mapping[Precision, tuple[int, int]] = {
    "float32": (4, 4),
    "float16": (2, 2),
    "int8-dynamic": (1, 4),
    "int8-static": (1, 1),
    "int8-weights": (4, 4),
}
"""Bytes of a weight and of an activation, as if every one of them were in the precision. Runtimes widen
int8-weights when they load them."""
ARITHMETIC: Mapping[Precision, float] = {
    "float32": 4.6,
    "float16": 1.5,
    "int8-dynamic": 0.3,
    "int8-static": 0.3,
    "int8-weights": 4.6,
}
"""Picojoules of a multiply-add: 3.7 + 0.9 in float32, 1.1 + 0.4 in float16, 0.2 + 0.1 for 8 bits into 32."""
CACHE = 12.5
"""Picojoules of a byte from 1 MiB of SRAM: 100 for 64 bits."""
DRAM = 244.0
"""Of a byte from DRAM: 1,300 to 2,600 for 64 bits, the middle."""
CACHE_BYTES = 2**20
"""Weights that fit are taken to be in the cache already; activations always."""


@dataclass(frozen=True)
class Cost:
    """Of one inference. `bytes_moved`: weights read, and activations read and written, each once per node.

    `energy`: joules, estimated. None where the network's shapes are not known.
    """

    bytes_moved: int | None
    energy: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def cost(work: Work, precision: Precision) -> Cost:
    if work.macs is None or work.weights is None or work.activations is None or work.other_bytes is None:
        return Cost(None, None)
    weight, activation = WIDTHS[precision]
    weights, others = work.weights * weight, work.activations * activation + work.other_bytes
    from_memory = DRAM if weights > CACHE_BYTES else CACHE
    joules = PICO * (work.macs * ARITHMETIC[precision] + weights * from_memory + others * CACHE)
    return Cost(weights + others, float(f"{joules:.4g}"))


def per_million(price: Price | None, timing: Timing | None) -> dict[str, Any] | None:
    """The price of a million inferences, by core-seconds; None where there is no price or no time."""
    if price is None or timing is None:
        return None
    amount = price.per_core_hour * timing.cpu * 1e6 / 3600
    return {"currency": price.currency, "amount": float(f"{amount:.6g}")}
