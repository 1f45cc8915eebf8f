"""What the CPU backends know of where int8 pays, in the words that evidence keeps.

The factors were measured on a CPU without VNNI (docs/design.md, facts); the build measures again, so they
decide only what is tried, and in which order.
"""

from __future__ import annotations

from sprue.backend import Offer
from sprue.target import Target

FLOAT = Offer("float32", "what the others are held against")

SMALL = Offer(
    "int8-weights", "a quarter of the size and the least noise, as fast as float32", mixed=True, small=True
)

INT8_FEATURES = ("amx-int8", "avx512-vnni", "avx-vnni", "i8mm", "dotprod")
"""ISA features that add int8 products in 32 bits, the widest first."""


def int8_feature(target: Target) -> str:
    """The feature that makes int8 products exact and fast on this target; "" if it has none."""
    return next((f for f in INT8_FEATURES if f in target.features), "")


def with_feature(why: str, target: Target) -> str:
    """The reason, and what the target's processor adds to it."""
    feature = int8_feature(target)
    return f"{why}; {feature} adds to that" if feature else why
