"""`python ray_cluster.py CORES...`: a real Ray cluster on this machine, in a process of its own.

A head that runs nothing, and a node with that many cores for each argument. Prints the address when all
are there, and ends with its standard input.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for cores in sys.argv[1:]:
        cluster.add_node(num_cpus=int(cores))
    print(f"address {cluster.address}", flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
