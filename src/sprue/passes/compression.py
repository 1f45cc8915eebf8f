"""The passes that a recipe's `prune`, `sparsity` and `cluster` stand for, in order."""

from __future__ import annotations

from sprue.backend import Pass
from sprue.passes.simplify import Simplify
from sprue.variant import Compression


def compression_passes(compression: Compression) -> tuple[Pass, ...]:
    """None if nothing is asked for. Simplified first: BatchNormalization is then part of its convolution."""
    made: list[Pass] = []
    return (Simplify(), *made) if made else ()
