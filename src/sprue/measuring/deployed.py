"""A process that does what a server does with an artifact, and says how much memory it had at most.

`python deployed.py` reads a request from standard input: how to open the artifact, and samples, which it runs
one at a time. It says what was resident before, with Python and NumPy, which every loader needs, and in the
end. What is imported here is in the figures: nothing of sprue, unless no loader opens the artifact.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Run = Callable[[Mapping[str, Any]], object]


def main() -> None:
    """Write the figures, a line of JSON, to standard output."""
    import numpy as np

    request = json.loads(sys.stdin.read())
    samples = {name: np.load(path, allow_pickle=False) for name, path in request["samples"].items()}
    start = peak()
    run = opened(request)
    for i in range(len(next(iter(samples.values())))):
        run({name: array[i : i + 1] for name, array in samples.items()})
    print(json.dumps({"peak_memory": peak(), "start_memory": start}))


def opened(request: Mapping[str, Any]) -> Run:
    if request["loader"] is None:
        from sprue.backend import find
        from sprue.variant import Variant

        variant = Variant.from_json(request["contract"]["variant"])
        return find(variant.backend).load(Path(request["artifact"]), variant).run
    opening = runpy.run_path(request["loader"])["open_artifact"]
    run: Run = opening(Path(request["entry"]), request["contract"])
    return run


def peak() -> int:
    """The largest resident set of this process so far, in bytes.

    Linux's ru_maxrss begins with what the parent had when it started this process; VmHWM does not.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # all is said: taking a runtime down takes some 25 ms, and nothing is left to be written
