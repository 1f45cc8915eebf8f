"""A real Ray cluster on this machine, in a process of its own: `python ray_cluster.py CORES...`.

A head that runs nothing, and a node with that many cores for each argument. Prints the address when all
are there, and ends with its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

SLOW = "The current node timed out during startup"
"""Ray gives its daemon half a minute, and no way to change that."""
ATTEMPTS = 2


@contextmanager
def cluster(environment: Mapping[str, str]) -> Iterator[str]:
    """The address of one with two nodes of one core. Skips if Ray says each time that it is too slow."""
    for _ in range(ATTEMPTS):
        with subprocess.Popen(
            [sys.executable, str(Path(__file__)), "1", "1"],
            env={**environment, "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = next((line for line in process.stdout if line.startswith(("address ", SLOW))), "nothing")
            if said.startswith("address "):
                yield said.split()[1]
                process.communicate(timeout=60)
                return
        assert said.startswith(SLOW), "Ray's cluster did not start: see what it wrote"
    pytest.skip(f"Ray said {ATTEMPTS} times: {said.strip()}")


def main() -> None:
    from ray.cluster_utils import Cluster

    bare = {"include_log_monitor": False, "no_monitor": True}  # a Python process each, which nobody asks
    try:
        head = {"num_cpus": 0, "include_dashboard": False, **bare}
        made = Cluster(initialize_head=True, head_node_args=head)
        for cores in sys.argv[1:]:
            made.add_node(num_cpus=int(cores), **bare)
    except Exception as error:  # Ray has no class of its own for it
        print(error, flush=True)
        raise
    print(f"address {made.address}", flush=True)
    sys.stdin.read()
    made.shutdown()


if __name__ == "__main__":
    main()
