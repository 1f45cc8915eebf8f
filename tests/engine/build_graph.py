"""A build as a process: python build_graph.py CACHE SEED [SECONDS] prints every action's output digest.

SEED makes the graph. Each action sleeps for SECONDS, so that there is time to interrupt it.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from sprue.engine.action import Action, Output
from sprue.engine.cache import Cache
from sprue.engine.pool import Pool
from sprue.engine.run import run


def graph(seed: int, seconds: float) -> list[Action]:
    """12 actions that make some files each; each needs up to three of those before it."""
    rng = random.Random(seed)
    made: list[Action] = []
    for i in range(12):
        inputs = {n: Output(f"n{n}") for n in map(str, rng.sample(range(i), min(i, rng.randint(0, 3))))}
        params = {"seconds": seconds, "size": rng.randint(1, 30_000), "number": i}
        made.append(Action(f"n{i}", "sample_actions:many", 1, params, inputs, alone=i % 5 == 0))
    return made


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    with Pool(2, 1) as pool:
        print("pool", flush=True)
        outcomes = run(graph(seed, seconds), Cache(folder), pool)
    for name, outcome in sorted(outcomes.items()):
        print(name, outcome.entry.digest_of("") if outcome.entry is not None else outcome.failure)


if __name__ == "__main__":
    main()
