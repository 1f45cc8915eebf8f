"""The graphs of a few seeds through a lowering: one line of JSON for each, when it is done.

Arguments: the lowering, the first seed, the seed after the last.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from . import lowerings
from .graphs import Case, from_seed
from .lowerings import Outcome

FLAGS = (
    "-O1", "-g0", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno",
    "-fsanitize=undefined,address", "-fno-sanitize-recover=all",
)  # fmt: skip


def through_tflite(seed: int) -> Outcome:
    """The lowering alone; or as it is built, with a free batch where the graph keeps samples apart."""
    case = from_seed(seed, lowerings.known("tflite"))
    if seed % 3 == 2:
        return lowerings.tflite(case)
    return lowerings.tflite_built((case.batched() if seed % 3 == 0 else None) or case)


def c_case(seed: int) -> Case:
    """A free batch, too, of which C runs a sample at a time."""
    case = from_seed(seed, lowerings.known("c"))
    many = case.batched() if seed % 3 == 0 else None
    return case if many is None else Case(many.model, case.feeds, case.wanted)


def through_c(seeds: range, lanes: int) -> Iterator[Outcome]:
    """All of them in one program."""
    cases = [c_case(seed) for seed in seeds]
    with tempfile.TemporaryDirectory(prefix="sprue-fuzz-") as folder:
        yield from lowerings.c(cases, Path(folder), FLAGS, lanes)


def main() -> None:
    lowering, seeds = sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3]))
    warnings.simplefilter("error")
    lanes = lowerings.C_LANES.get(lowering)
    found = through_c(seeds, lanes) if lanes is not None else map(through_tflite, seeds)
    for seed, outcome in zip(seeds, found, strict=True):
        print(json.dumps({"seed": seed, "kind": outcome.kind, "why": outcome.why}), flush=True)


if __name__ == "__main__":
    main()
