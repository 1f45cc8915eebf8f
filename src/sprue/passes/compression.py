"""The passes that a recipe's `prune`, `sparsity` and `cluster` stand for, in order."""

from __future__ import annotations

from sprue.backend import Pass
from sprue.passes.simplify import Simplify
from sprue.variant import Compression


def compression_passes(compression: Compression) -> tuple[Pass, ...]:
    """None if nothing is asked for. Simplified first: BatchNormalization is then part of its convolution."""
    made: list[Pass] = []
    # These import numpy and onnx, which a plan of variants that ask for none of them does not need.
    if compression.prune:
        from sprue.passes.prune_channels import PruneChannels

        made.append(PruneChannels(compression.prune))
    if compression.sparsity:
        from sprue.passes.sparsify import Sparsify

        made.append(Sparsify(compression.sparsity))
    if compression.cluster:
        from sprue.passes.cluster import Cluster

        made.append(Cluster(compression.cluster))
    return (Simplify(), *made) if made else ()
