"""What would int8 bring a BiLSTM on a server without VNNI? In instructions, counted where there is none.

valgrind's processor has AVX2 and FMA and nothing of AVX-512, so that onnxruntime takes the kernels there that
it takes on such a server. A process that runs the network often, less one that runs it seldom: what is left
are the instructions of inferences alone, one sample at a time on one thread. The network is `selected.py`'s;
int8 is what sprue builds for such a target, int8-dynamic with weights within 7 bits. Beside it stands where
the float network's time goes on this machine, by onnxruntime's own profiler.

    python benchmarks/recurrent.py

Takes minutes: every instruction of Python and onnxruntime is translated. Needs the extra `train`, and
Debian's valgrind.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: the other benchmarks are found from the checkout's root
    sys.path[0] = str(ROOT)

SELDOM, OFTEN = 2, 102


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run(Path(sys.argv[2]), int(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory(prefix="sprue-recurrent-") as folder:
        files = networks(Path(folder))
        for layer, share in profile(files["float32"]):
            print(f"  {layer:20} {100 * share:5.1f} % of float32's time here", flush=True)
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


def instructions(file: Path) -> float:
    """Of one inference."""
    return (collected(file, OFTEN) - collected(file, SELDOM)) / (OFTEN - SELDOM)


def collected(file: Path, times: int) -> int:
    python = os.path.realpath(sys.executable)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file.parent / 'callgrind'}"]
    done = subprocess.run(
        [*command, python, __file__, "--run", str(file), str(times)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
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
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    for _ in range(times):
        session.run(None, {"x": sample()})


if __name__ == "__main__":
    main()
