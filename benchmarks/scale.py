"""How does sprue bear thousands of recipes? A build in which nothing has changed, from 100 recipes to 10,000.

Each recipe is for four targets served by the null backend of the tests, so that what is measured is
sprue itself: finding out that nothing is to be done, as one whole process. The recipes share ten small
models. Also said: what the first build took (planning, keys, freezing: the null backend does nothing).

    python benchmarks/scale.py [--recipes 100 1000 10000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
MODELS = 10
TARGETS = ("null-a", "null-b", "null-c", "null-d")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    from sprue.machine import fingerprint

    print(f"{fingerprint()}; medians of {arguments.rounds}")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        _targets(project / "own")
        _models(project / "models")
        print(f"{'recipes':>8} {'first build':>12} {'no-op':>8} {'a recipe':>9} {'memory':>9}")
        for count in sorted(arguments.recipes):
            _recipes(project / "recipes", count)
            first, _ = _build(project)
            times, peaks = zip(*(_build(project) for _ in range(arguments.rounds + 1)), strict=True)
            # The first no-op still hashes: what it looks at is younger than the clock's grain.
            median = statistics.median(times[1:])
            each, peak = median / count * 1e6, max(peaks) / 2**20
            print(f"{count:8} {first:10.1f} s {median:6.2f} s {each:6.0f} us {peak:5.0f} MiB", flush=True)


def _targets(folder: Path) -> None:
    """Four targets with the null backend of the tests."""
    folder.mkdir()
    tests = ROOT / "tests" / "backends"
    shutil.copyfile(tests / "null.py", folder / "null.py")
    for name in TARGETS:
        shutil.copyfile(tests / "null.toml", folder / f"{name}.toml")


def _models(folder: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(MODELS):
        made = folder / f"model{number}"
        made.mkdir(parents=True)
        weight = random.standard_normal((4, 3), dtype=np.float32)
        onnx.save(_network(weight), made / "model.onnx")
        inputs = random.standard_normal((16, 4), dtype=np.float32)
        np.savez(made / "evaluation.npz", x=inputs, label=(inputs @ weight).argmax(axis=1))
        (made / "model.toml").write_text('source = "model.onnx"\n[data]\nevaluation = "evaluation.npz"\n')


def _network(weight: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _recipes(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(len(list(folder.iterdir())), count):
        tables = "".join(f"[target.{name}]\n" for name in TARGETS)
        (folder / f"recipe{number}.toml").write_text(f'model = "model{number % MODELS}"\n{tables}')


def _build(project: Path) -> tuple[float, int]:
    """Seconds of the whole process, and the peak of its memory in bytes."""
    places = ["--cache", str(project / "cache"), "--store", str(project / "bundles")]
    command = [sys.executable, "-m", "sprue", "build", str(project / "recipes"), *places]
    started = time.perf_counter()
    environment = os.environ | {"SPRUE_TARGETS": str(project / "own")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    assert isinstance(usage, resource.struct_rusage)
    return seconds, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
