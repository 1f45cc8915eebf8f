"""Feed a reader bytes that atheris (libFuzzer) makes from the seeds, led by the code that they reach.

    python tests/fuzz/run.py manifest --seconds 3600         until the time is over, or something breaks
    python tests/fuzz/run.py archive --runs 5000 --seed 7    the same runs each time

Exit code 0: nothing broke. What breaks a reader is written to `crash-<sha1>` in --out: add it to the seeds
when it is mended. `--corpus` keeps what reached new code, to go on from.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

SEEDS = Path(__file__).with_name("seeds")

with atheris.instrument_imports(include=["sprue.bundle", "sprue.canonical", "sprue.trust"]):
    from properties import PROPERTIES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("property", choices=sorted(PROPERTIES))
    parser.add_argument("--runs", type=int, default=-1, help="default: without end")
    parser.add_argument("--seconds", type=int, default=0, help="default: without end")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; 0: another each time")
    parser.add_argument("--corpus", type=Path, help="a folder to keep what is found in")
    parser.add_argument("--out", type=Path, default=Path(), help="where crash-* go (default: here)")
    asked = parser.parse_args()
    holds = PROPERTIES[asked.property]
    with tempfile.TemporaryDirectory() as empty:
        folders = [str(asked.corpus or empty), str(SEEDS / asked.property)]
        options = [f"-runs={asked.runs}", f"-max_total_time={asked.seconds}", f"-seed={asked.seed}"]
        options += [f"-artifact_prefix={asked.out}/", "-max_len=65536", "-print_final_stats=1", "-timeout=60"]
        atheris.Setup([sys.argv[0], *options, *folders], lambda data: holds(data) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
