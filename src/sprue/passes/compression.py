"""The passes that a recipe's `prune`, `sparsity` and `cluster` stand for, in order."""

from __future__ import annotations

from sprue.backend import Pass
from sprue.passes.cluster import Cluster
from sprue.passes.prune_channels import PruneChannels
from sprue.passes.simplify import Simplify
from sprue.passes.sparsify import Sparsify
from sprue.variant import Compression


def compression_passes(compression: Compression) -> tuple[Pass, ...]:
    """None if nothing is asked for. Simplified first: BatchNormalization is then part of its convolution."""
    made: list[Pass] = []
    if compression.prune:
        made.append(PruneChannels(compression.prune))
    if compression.sparsity:
        made.append(Sparsify(compression.sparsity))
    if compression.cluster:
        made.append(Cluster(compression.cluster))
    return (Simplify(), *made) if made else ()
