"""Train many chatbots into one project: 15 intents each, drawn with seeds, so that every customer is another.

    python models/chatbot/fleet.py --count 40 --out PROJECT
    sprue build PROJECT/recipes

Customer i has the intents and the weights of seed i; a model that is there is kept, so a fleet can grow.
`--alone --texts 10` trains in two seconds each, for benchmarks in which quality does not matter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":  # run as a script: the other modules are found from the checkout's root
    sys.path[0] = str(PROJECT)

from models.chatbot import corpus  # noqa: E402
from models.chatbot.train import Options, add_options, make, options_of, refuse_checkout  # noqa: E402

INTENTS = 15


@dataclass(frozen=True)
class Fleet:
    project: Path
    intents: int
    options: Options


def customers(fleet: Fleet, seeds: range, jobs: int) -> Iterator[str]:
    """Train those that are not there yet; what each reached, in the order of the seeds."""
    if jobs == 1:
        yield from (customer(fleet, seed) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(customer, fleet), seeds)


def customer(fleet: Fleet, seed: int) -> str:
    name = f"customer-{seed:05}"
    out = fleet.project / "models" / name
    if (out / "model.toml").is_file():  # written last
        return f"{name}: kept"
    source = corpus.read()
    chosen = corpus.select(source, corpus.sample(source, fleet.intents, seed))
    return f"{name}: {make(out, chosen, replace(fleet.options, seed=seed)).splitlines()[0]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, required=True, help="of customers")
    parser.add_argument("--intents", type=int, default=INTENTS, help="of each customer; default: 15")
    parser.add_argument("--jobs", "-j", type=int, default=1, help="trainings at a time, one thread each")
    add_options(parser, seed=0)
    parser.add_argument("--out", type=Path, required=True, help="the project's folder")
    given = parser.parse_args()
    refuse_checkout(parser, given.out)
    if given.count < 1 or given.jobs < 1:
        parser.error("--count and --jobs are at least 1")
    try:
        corpus.sample(corpus.read(), given.intents, 0)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    fleet = Fleet(given.out, given.intents, options_of(given))
    for line in customers(fleet, range(given.seed, given.seed + given.count), given.jobs):
        print(line, flush=True)


if __name__ == "__main__":
    main()
