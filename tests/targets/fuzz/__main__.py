"""Random graphs through a lowering, against onnxruntime: how many are right, refused and why, wrong.

    python -m tests.targets.fuzz c --graphs 10000
    python -m tests.targets.fuzz tflite --graphs 1 --seed 4711 --show

Graphs come from consecutive seeds, 50 to a process, which a runtime may crash. Exit code 1 if anything is
wrong.
`--show` prints each graph, and those of its nodes that are wrong by themselves.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .lowerings import Outcome

PORTION = 50
CHECKOUT = Path(__file__).resolve().parents[3]


def portion(lowering: str, seeds: range) -> Iterator[tuple[int, Outcome]]:
    """Seeds and outcomes; a process that crashes is the outcome of the seed at which it did."""
    while seeds:
        command = [sys.executable, "-m", "tests.targets.fuzz.worker", lowering]
        command += [str(seeds.start), str(seeds.stop)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
        at = seeds.start
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                told = json.loads(line)
                yield told["seed"], Outcome(told["kind"], told["why"])
                at = told["seed"] + 1
        if done.returncode and at < seeds.stop:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            yield at, Outcome("crash", f"its process ended with {done.returncode}: {last}"[:300])
            at += 1
        seeds = range(at, seeds.stop)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lowering", choices=("c", "c-host", "tflite"))
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first graph")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--show", action="store_true", help="print each graph, and its nodes that are wrong")
    asked = parser.parse_args()
    end = asked.seed + asked.graphs
    if asked.show:
        from .show import show

        wrong = [seed for seed in range(asked.seed, end) if show(asked.lowering, seed)]
        sys.exit(bool(wrong))
    seeds = [range(at, min(at + PORTION, end)) for at in range(asked.seed, end, PORTION)]
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with ThreadPoolExecutor(asked.jobs) as pool:
        for found in pool.map(lambda s: list(portion(asked.lowering, s)), seeds):
            for seed, outcome in found:
                kinds[outcome.kind] += 1
                if outcome.kind == "refused":
                    reasons[outcome.why] += 1
                elif outcome.kind != "right":
                    again = f"python -m tests.targets.fuzz {asked.lowering} --graphs 1 --seed {seed} --show"
                    print(f"seed {seed}: {outcome.kind}: {outcome.why}\n    {again}", flush=True)
    for why, count in reasons.most_common():
        print(f"refused {count:5}  {why}")
    print(f"{asked.lowering}: {asked.graphs} graphs from seed {asked.seed}: {dict(kinds)}")
    sys.exit(bool(kinds["wrong"] + kinds["crash"]))


if __name__ == "__main__":
    main()
