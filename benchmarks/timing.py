"""Does the protocol pick the truly faster of two artifacts that are 5 % apart, while one core is busy?

Two ONNX files that do the same layer 28 and 30 times, so that one needs about 1.05 times as long. The slower
is the smaller file, so that it wins whenever the two are not told apart. A process beside computes all the
time. Each trial measures both afresh and selects, as a build does. The peer, in the same trial on the same
machine: the usual loop, one after the other, the mean of as many runs.

    python benchmarks/timing.py [trials]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from sprue.backend import Runner, Variant, find
from sprue.choosing.select import Result, select
from sprue.machine import fingerprint
from sprue.measuring.measure import Candidate, measure
from sprue.measuring.measured import Measured
from sprue.measuring.timing import compare
from sprue.target import load_target

TRIALS = 100
WIDTH = 96
LAYERS = {"faster": 28, "slower": 30}
PADDING = 4096
AIM = 0.95
BUSY = "while True: pass"


def main(trials: int) -> int:
    right = peer_right = told = noisy = 0
    ratios: list[float] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, _busy_core():
        artifacts = {name: _artifact(Path(folder) / name, name) for name in LAYERS}
        samples = {"x": np.random.default_rng(0).standard_normal((16, WIDTH)).astype(np.float32)}
        for _ in range(trials):
            results, noise = _measured(artifacts, samples)
            kept = select(list(results.values()), "latency")
            faster, slower = (r.timing for r in results.values())
            assert faster is not None
            assert slower is not None
            compared = compare(faster.rounds, slower.rounds)
            right += kept is results["faster"]
            told += compared.slower
            noisy += bool(noise)
            ratios.append(compared.ratio)
            runs = (faster.runs + slower.runs) // 2
            means = {name: _mean(_load(path), samples, runs) for name, path in artifacts.items()}
            peer_right += means["faster"] < means["slower"]
    seconds = time.perf_counter() - started
    low, middle, high = np.quantile(ratios, [0.025, 0.5, 0.975])
    print(
        f"{fingerprint()}; one busy process; {trials} trials in {seconds:.0f} s, {noisy} of them marked noisy"
    )
    print(f"  slower : faster      {middle:.3f}  (95 % of the trials: {low:.3f} to {high:.3f})")
    print(f"  sprue keeps faster   {right} of {trials}, told apart in {told}  (aim: {AIM:.0%})")
    print(f"  mean of a loop       {peer_right} of {trials}  (half would be guessing)")
    return 0 if right >= AIM * trials else 1


@contextmanager
def _busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _artifact(folder: Path, name: str) -> Path:
    """A chain of one matrix and Relu. The faster one is padded to be the larger file."""
    weight = np.random.default_rng(1).standard_normal((WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5
    nodes = []
    for i in range(LAYERS[name]):
        nodes.append(helper.make_node("MatMul", [f"h{i}" if i else "x", "w"], [f"m{i}"], f"product{i}"))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"h{i + 1}"], f"relu{i}"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])
    y = helper.make_tensor_value_info(f"h{LAYERS[name]}", TensorProto.FLOAT, ["batch", WIDTH])
    graph = helper.make_graph(nodes, "chain", [x], [y], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.doc_string = "x" * (PADDING if name == "faster" else 0)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def _variant() -> Variant:
    return Variant(load_target("server-cpu"), "onnxruntime", "float32")


def _load(folder: Path) -> Runner:
    return find("onnxruntime").load(folder, _variant())


def _measured(artifacts: dict[str, Path], samples: dict[str, np.ndarray]) -> tuple[dict[str, Result], str]:
    candidates = {name: Candidate(partial(_load, folder)) for name, folder in artifacts.items()}
    timings, conditions = measure(candidates, samples)
    results = {}
    for name, folder in artifacts.items():
        size = (folder / "model.onnx").stat().st_size
        measured = Measured(timings[name], conditions.noise)
        results[name] = Result(_variant(), "verified", size=size, measured=measured)
    return results, conditions.noise


def _mean(runner: Runner, samples: dict[str, np.ndarray], runs: int) -> float:
    one = {name: array[:1] for name, array in samples.items()}
    runner.run(one)
    started = time.perf_counter()
    for _ in range(runs):
        runner.run(one)
    return (time.perf_counter() - started) / runs


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS))
