"""How fast is a bundle pushed to and pulled from docker-registry, and in how much memory?

skopeo does the same in the same run, alternately: it copies the same image between the registry and an OCI
layout in a folder. Each push goes to a new, empty registry: skopeo remembers what lies where, and would mount
instead of send. sprue also checks the whole bundle before it pushes, and syncs what it pulled into a
store; skopeo does neither. Each run is a process of its own; what counts is its time from start to end,
imports and all, and its peak of memory over that of `sprue --version`.

    python benchmarks/registry.py [--rounds 5] [--mebibytes 500] [--folder DIR]

It needs Debian's docker-registry and skopeo.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the other benchmarks are found from the checkout's root
    sys.path[0] = str(ROOT)

from benchmarks.random_bundle import MEBI, fill  # noqa: E402
from sprue.machine import fingerprint  # noqa: E402

REGISTRY = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
AIM_MEMORY = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: the temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        sizes = fill(folder / "bundle", arguments.mebibytes * MEBI)
        total = sum(sizes)
        size = f"{total / MEBI:.0f} MiB in {len(sizes)} files"
        print(f"{fingerprint()}; load {os.getloadavg()[0]:.1f}; medians of {arguments.rounds}, {size}")
        measure(folder, total, arguments.rounds)


def measure(folder: Path, total: int, rounds: int) -> None:
    sprue = [sys.executable, "-m", "sprue"]
    bundle, layout, out = str(folder / "bundle"), f"oci:{folder}/layout:1.0.0", folder / "out"
    skopeo = ["skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"]
    idle = run([*sprue, "--version"])[1]
    rates: dict[str, list[float]] = defaultdict(list)
    peaks: dict[str, int] = defaultdict(int)

    def time_it(name: str, command: Sequence[str]) -> None:
        os.sync()  # what others wrote is not this one's to wait for
        seconds, peak = run(command)
        rates[name].append(total / seconds)
        peaks[name] = max(peaks[name], peak)
        shutil.rmtree(out, ignore_errors=True)

    with registry(folder / "source") as source:
        run([*sprue, "publish", bundle, f"oci://{source}/bundle"])
        run([*skopeo, f"docker://{source}/bundle:1.0.0", layout])
        for _ in range(rounds):
            with registry(folder / "skopeo") as host:
                time_it("push, skopeo", [*skopeo, layout, f"docker://{host}/bundle:1.0.0"])
            with registry(folder / "sprue") as host:
                time_it("push, sprue", [*sprue, "publish", bundle, f"oci://{host}/bundle"])
            time_it("pull, skopeo", [*skopeo, f"docker://{source}/bundle:1.0.0", f"oci:{out}:1.0.0"])
            time_it("pull, sprue", [*sprue, "pull", f"oci://{source}/bundle:1.0.0", "--store", str(out)])
    for name, found in rates.items():
        base = statistics.median(rates[f"{name.partition(',')[0]}, skopeo"])
        rate, spread = statistics.median(found), f"{min(found) / MEBI:.0f} to {max(found) / MEBI:.0f}"
        ours = name.endswith("sprue")
        aims = f"  (aims: 1.00 or more, at most {AIM_MEMORY} MiB)" if ours else ""
        memory = f"{(peaks[name] - idle) / MEBI:3.0f} MiB" + (" over idle" if ours else " over sprue's idle")
        print(f"  {name:13} {rate / MEBI:5.0f} MiB/s  ({spread})  ratio {rate / base:.2f}  {memory}{aims}")


def run(command: Sequence[str]) -> tuple[float, int]:
    """Seconds, and the peak of memory in bytes, of a command that must succeed.

    The kernel's own figure at its end would be at least this process's size: memory counts across exec.
    """
    began, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                found = re.search(r"VmHWM:\s+(\d+) kB", status)
                peak = max(peak, int(found[1]) * 1024) if found else peak
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{command} failed:\n{said.read().decode()}")
    return seconds, peak


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.yml").write_text(REGISTRY.format(folder=folder / "data", port=port))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
