"""What does int8 bring a BiLSTM on a server without VNNI? Timed and counted where onnxruntime sees none.

Timed: on this processor, from whose answers gdb takes AVX-512 away (avx2_only.py); both sides alternately,
the fastest of 100 rounds of 10. That it was taken away is proven: weights of all 8 bits, which AVX2 clamps,
give another answer then. Counted: in valgrind, whose processor has AVX2 and FMA and no more; a process that
runs the network often, less one that runs it seldom, leaves the instructions of inferences alone. One sample
at a time on one thread. The network is `selected.py`'s; int8 is what sprue builds for such a target,
int8-dynamic with weights within 7 bits. Beside it stands where the float network's time goes here, by
onnxruntime's own profiler.

    python benchmarks/recurrent.py

Takes minutes: valgrind translates every instruction of Python and onnxruntime. Needs the extra `train`, and
Debian's gdb, binutils and valgrind.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the other benchmarks are found from the checkout's root
    sys.path[0] = str(ROOT)

SELDOM, OFTEN = 2, 102


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run(Path(sys.argv[2]), int(sys.argv[3]))
        return
    if sys.argv[1:2] == ["--time"]:
        time_both(*map(Path, sys.argv[2:5]))
        return
    with tempfile.TemporaryDirectory(prefix="sprue-recurrent-") as folder:
        files = networks(Path(folder))
        for layer, share in profile(files["float32"]):
            print(f"  {layer:20} {100 * share:5.1f} % of float32's time here", flush=True)
        alternately(files)
        counts = {name: instructions(file) for name, file in files.items()}
    for name, count in counts.items():
        print(f"  {name:20} {count / 1e6:6.2f} M instructions an inference, with AVX2")
    print(f"  float32 takes {counts['float32'] / counts['int8-dynamic']:.2f} times as many as int8-dynamic")


def networks(folder: Path) -> dict[str, Path]:
    """The BiLSTM as the artifacts of server-cpu, which has no VNNI, by precision."""
    from benchmarks import selected  # not above: valgrind would have to translate torch
    from sprue.backend import Variant, find
    from sprue.graph import read_model
    from sprue.target import Precision, load_target

    source = selected.write_project(folder, "bilstm", selected.CASES["bilstm"], 20)
    made: dict[str, Path] = {}
    wanted: tuple[Precision, ...] = ("float32", "int8-dynamic")
    for precision in wanted:
        variant = Variant(load_target("server-cpu"), "onnxruntime", precision)
        backend, model, out = find("onnxruntime"), read_model(source), folder / precision
        for step in backend.passes(variant):
            model = step.apply(model, {})
        out.mkdir()
        backend.compile(model, variant, {}, out)
        made[precision] = out / backend.entry(variant)
    return made


def profile(file: Path) -> list[tuple[str, float]]:
    """Operators and their shares of the time, the largest first, as far as they are above 1 %."""
    from sprue.backend import Variant, find
    from sprue.target import load_target

    runner = find("onnxruntime").load(
        file.parent, Variant(load_target("server-cpu"), "onnxruntime", "float32")
    )
    took: dict[str, float] = {}
    for operator in runner.operators({"x": sample()}):
        took[operator.op] = took.get(operator.op, 0.0) + (operator.seconds or 0.0)
    shares = sorted(((name, cost / sum(took.values())) for name, cost in took.items()), key=lambda s: -s[1])
    return [(name, share) for name, share in shares if share > 0.01]


def alternately(files: dict[str, Path]) -> None:
    """Print the times with AVX-512 and without. Exits where it could not be hidden."""
    from sprue.graph import read_model, serialise
    from sprue.passes.quantize_dynamic import QuantizeDynamic

    whole = files["float32"].with_name("whole.onnx")
    whole.write_bytes(serialise(QuantizeDynamic(reduce_range=False).apply(read_model(files["float32"]), {})))
    command = [os.path.realpath(sys.executable), __file__, "--time", *map(str, files.values()), str(whole)]
    gdb = ["gdb", "-q", "-batch", "-x", str(Path(__file__).with_name("avx2_only.py")), "--args"]
    said = [timed(command), timed([*gdb, *command], CPUID_AT=" ".join(cpuid_addresses()))]
    if said[0][2] == said[1][2]:
        raise SystemExit("gdb did not hide AVX-512 from onnxruntime, or there is none")
    for (plain, small, _), where in zip(said, ("as it is", "AVX2 alone"), strict=True):
        print(f"  {where:20} {plain:6.1f} us -> {small:6.1f} us  ratio {plain / small:.2f}", flush=True)


def timed(command: list[str], **more: str) -> tuple[float, float, str]:
    done = subprocess.run(command, env=environment() | more, capture_output=True, text=True, check=False)
    found = re.search(r"times (\S+) (\S+) (\S+)", done.stdout)
    if found is None:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return float(found[1]), float(found[2]), found[3]


def cpuid_addresses() -> list[str]:
    from onnxruntime.capi import onnxruntime_pybind11_state as library

    command = ["objdump", "-d", "--no-show-raw-insn", library.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        return [line.split(":")[0].strip() for line in process.stdout if "\tcpuid" in line]


def time_both(*files: Path) -> None:
    """Microseconds of the first two, and what the third answers."""
    first, second, third = (session(f) for f in files)
    best = [float("inf")] * 2
    for _ in range(100):
        for index, side in enumerate((first, second)):
            started = time.perf_counter()
            for _ in range(10):
                side.run(None, {"x": sample()})
            best[index] = min(best[index], (time.perf_counter() - started) / 10)
    answer = third.run(None, {"x": sample()})[0].tobytes()
    print("times", *(1e6 * b for b in best), hashlib.sha256(answer).hexdigest())


def environment() -> dict[str, str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def instructions(file: Path) -> float:
    """Of one inference."""
    return (collected(file, OFTEN) - collected(file, SELDOM)) / (OFTEN - SELDOM)


def collected(file: Path, times: int) -> int:
    python = os.path.realpath(sys.executable)
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file.parent / 'callgrind'}"]
    done = subprocess.run(
        [*command, python, __file__, "--run", str(file), str(times)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"valgrind failed:\n{done.stderr}")
    return int(found[1])


def sample() -> np.ndarray:
    return np.arange(2, 26, dtype=np.int64)[None]


def run(file: Path, times: int) -> None:
    opened = session(file)
    for _ in range(times):
        opened.run(None, {"x": sample()})


def session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
