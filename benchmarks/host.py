"""A model as a C library for this machine, held against onnxruntime on one thread: latency, and size.

Both sides are built by their backends from the same ONNX file and timed by the protocol of a build: rounds in
turn, one sample at a time, called from Python. int8 is static, calibrated on the same samples. The sizes are
of what must be there beside Python and NumPy: one file of ours; the model and onnxruntime's package.

    python benchmarks/host.py [--only digits lstm ...] [--target server-cpu-vnni]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from benchmarks.embedded_models import Network, ds_cnn, gru, lstm, small_cnn  # noqa: E402
from sprue.backend import Runner, Variant, find  # noqa: E402
from sprue.machine import fingerprint  # noqa: E402
from sprue.measuring.measure import Candidate, measure  # noqa: E402
from sprue.measuring.timing import compare  # noqa: E402
from sprue.target import Precision, Target, load_target  # noqa: E402

SIDES: tuple[tuple[str, Precision], ...] = (
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8-static"),
    ("c", "float32"),
    ("c", "int8-static"),
)
TOLERANCE = 1e-4
"""Of float32: the largest difference, as a part of the largest output."""
Case = tuple[ModelProto, dict[str, NDArray[Any]]]


def digits() -> Case:
    """The sample model: 8x8 images."""
    with np.load(ROOT / "models" / "digits" / "evaluation.npz", allow_pickle=False) as file:
        samples = {name: file[name][:64] for name in file if name != "label"}
    return onnx.load(ROOT / "models" / "digits" / "digits.onnx"), samples


def transformer() -> Case:
    """Two encoder layers of 4 heads on 32 tokens of 64 numbers, then a dense layer. 3.5 M products."""
    tokens, width, heads, layers = 32, 64, 4, 2
    n = Network()
    shapes = {
        "split": np.array([0, tokens, heads, width // heads]),
        "join": np.array([0, tokens, width]),
    }
    for _ in range(layers):
        entry = n.last
        parts = []
        for axes in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)):
            n.last = entry
            n.add("MatMul", n.weight(width, width, scale=width**-0.5))
            n.add("Reshape", n.constant(shapes["split"]))
            n.add("Transpose", perm=axes)
            parts.append(n.last)
        n.last = parts[0]
        n.add("MatMul", parts[1])
        n.add("Mul", n.constant(np.array((width // heads) ** -0.5, np.float32)))
        n.add("Softmax", axis=-1)
        n.add("MatMul", parts[2])
        n.add("Transpose", perm=(0, 2, 1, 3))
        n.add("Reshape", n.constant(shapes["join"]))
        n.add("MatMul", n.weight(width, width, scale=width**-0.5))
        n.add("Add", entry)
        _normalised(n, width)
        middle = n.last
        n.add("MatMul", n.weight(width, 4 * width, scale=width**-0.5))
        n.add("Add", n.weight(4 * width, scale=0.1))
        n.add("Relu")
        n.add("MatMul", n.weight(4 * width, width, scale=(4 * width) ** -0.5))
        n.add("Add", middle)
        _normalised(n, width)
    n.add("ReduceMean", axes=[1], keepdims=0)
    n.dense(12, width, "y")
    model, x = n.model("transformer", (tokens, width), 12)
    return model, {"x": x}


def _normalised(n: Network, width: int) -> None:
    ones = n.constant(np.ones(width, np.float32))
    n.add("LayerNormalization", ones, n.constant(np.zeros(width, np.float32)), axis=-1)


CASES = {
    "digits": digits,
    "cnn": lambda: (small_cnn()[0], {"x": small_cnn()[1]}),
    "ds-cnn": lambda: (ds_cnn()[0], {"x": ds_cnn()[1]}),
    "lstm": lambda: (lstm()[0], {"x": lstm()[1]}),
    "gru": lambda: (gru()[0], {"x": gru()[1]}),
    "transformer": transformer,
}


def main(names: list[str], target: Target) -> int:
    package = importlib.metadata.files("onnxruntime") or []
    runtime = sum(f.size or 0 for f in package)
    print(f"{fingerprint()}; onnxruntime {importlib.metadata.version('onnxruntime')}, one thread")
    print(f"{'':12} {'':24} {'median':>9}  {'of onnxruntime-float32':>22}  {'deployed':>10}")
    right = True
    for name in names:
        right &= _case(name, target, runtime)
    print(
        f"deployed with onnxruntime: the model's file and its package's {runtime / 1e6:.0f} MB, without NumPy"
    )
    return 0 if right else 1


def _case(name: str, target: Target, runtime: int) -> bool:
    model, samples = CASES[name]()
    with tempfile.TemporaryDirectory() as folder:
        loads = {}
        sizes = {}
        for backend, precision in SIDES:
            variant = Variant(target, backend, precision)
            place = Path(folder) / variant.id
            place.mkdir()
            _build(model, variant, samples, place)
            loads[variant.id] = partial(find(backend).load, place, variant)
            sizes[variant.id] = (place / find(backend).entry(variant)).stat().st_size
            if backend == "onnxruntime":
                sizes[variant.id] = sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) + runtime
        right = _agree(name, {side: load() for side, load in loads.items()}, samples)
        timings, conditions = measure({side: Candidate(load) for side, load in loads.items()}, samples)
    first = timings["onnxruntime-float32"]
    for side, timing in timings.items():
        ratio = compare(first.rounds, timing.rounds).ratio
        told = f"{timing.p50 * 1e6:7.1f} us  {ratio:22.2f}  {sizes[side] / 1e3:7.0f} KB"
        print(f"{name:12} {side:24} {told}{' ?' if conditions.noise else ''}")
    return right


def _build(
    model: ModelProto, variant: Variant, samples: dict[str, NDArray[Any]], place: Path
) -> None:  # fmt: skip
    backend = find(variant.backend)
    for change in backend.passes(variant):
        model = change.apply(model, samples)
    backend.compile(model, variant, samples, place)


def _agree(name: str, runners: dict[str, Runner], samples: dict[str, NDArray[Any]]) -> bool:
    ours, theirs = (runners[f"{side}-float32"].run(samples) for side in ("c", "onnxruntime"))
    for output, wanted in theirs.items():
        error = np.abs(ours[output].astype(float) - wanted).max() / np.abs(wanted).max()
        if not error <= TOLERANCE:
            print(f"{name}: '{output}' differs by {error:.1e} of its largest value")
            return False
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--target", default="server-cpu", help="names the processor's features")
    asked = parser.parse_args()
    sys.exit(main(asked.only, load_target(asked.target)))
