"""Peak memory: the largest resident set of a fresh process that loads one artifact and runs it.

`python -m sprue.measuring.resident` is that process. It runs one sample at a time, as a server at batch 1
does, and imports no more than a program would that uses sprue's backend: Python, NumPy and the runtime are
part of the figure, and `start_memory` says how much of it was there before the artifact was loaded.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sprue.errors import SprueError

SAMPLES = 8
SECONDS = 600


def measure(artifact: Path, variant: Mapping[str, Any], samples: Path) -> dict[str, int]:
    """`peak_memory` and `start_memory` in bytes. Raises SprueError when the process fails."""
    request = json.dumps({"artifact": str(artifact), "variant": variant, "samples": str(samples)})
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sprue.measuring.resident"],
        input=request,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise SprueError(f"the process that was to measure its memory failed: {said[0]}")
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Read the request from standard input; write the figures, a line of JSON, to standard output."""
    from sprue import data
    from sprue.backend import find
    from sprue.variant import Variant

    request = json.loads(sys.stdin.read())
    variant = Variant.from_json(request["variant"])
    samples = {n: a[:SAMPLES] for n, a in data.read_arrays(Path(request["samples"])).items()}
    backend = find(variant.backend)
    start = peak()
    runner = backend.load(Path(request["artifact"]), variant)
    for i in range(len(next(iter(samples.values())))):
        runner.run({n: a[i : i + 1] for n, a in samples.items()})
    sys.stdout.write(json.dumps({"peak_memory": peak(), "start_memory": start}) + "\n")


def peak() -> int:
    """The largest resident set of this process so far, in bytes.

    Linux's ru_maxrss begins with what the parent had when it started this process; VmHWM does not.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found is not None:
        return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
