"""ONNX -> TFLite by sprue and by onnx2tf: seconds, bytes, error, latency, and what int8 and float16 leave.

Networks of known shapes with seeded weights, and the four MLPerf Tiny models where shared data has them. Both
sides convert in a warm process of their own Python; their files run in one process on one thread,
alternately. The error is the largest difference from onnxruntime (no graph optimisations), as a part of the
largest value; beside it stands the same from the network in float64, of the file and of onnxruntime itself,
which tells what is float32's own rounding.

    python benchmarks/tflite.py [--only cnn minilm ...] [--rounds 30] [--peer none]

onnx2tf 2.6.9 needs Python 3.12 or newer and versions that clash with ours: the script makes an environment
for it in the user's cache folder once, from the first of python3.14, 3.13, 3.12 that works, or `--python`.

Aims: under 0.2 s for models below 10 MB, under 1 s for MiniLM; error 1e-6; never larger, latency at most
onnx2tf's (within 2 %); the same bytes each time; int8-dynamic at most 0.28 of BERT's float size and 0.32 of
the BiLSTM's; float16 at most 0.51. Needs the extras `train` (torch writes the networks) and `mobile`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # run as a script: other benchmarks and the models are found from the root
    sys.path[0] = str(ROOT)

from benchmarks.peers import CACHE, installed  # noqa: E402
from benchmarks.selected import CASES, Encoder, exported  # noqa: E402
from models.mlperf_tiny import import_tflite  # noqa: E402
from models.mlperf_tiny.rebuild import rebuild  # noqa: E402

PEER = "onnx2tf==2.6.9"
PYTHONS = ("python3.14", "python3.13", "python3.12")
DATA = Path(os.environ.get("SPRUE_DATA", str(ROOT.parent / "shared" / "data"))) / "mlperf-tiny"
TINY = {f"tiny-{name}": original for name, original in import_tflite.ORIGINALS.items()}
SMALL = 10 * 1000 * 1000
"""Bytes of float32: below it a conversion takes at most 0.2 s."""
SIZES = {"bert": ("int8-dynamic", 0.28), "bilstm": ("int8-dynamic", 0.32)}
HALF = 0.51
ERROR = 1e-6
LEAST_SECONDS = 1.0
"""Of one side after the other: what takes a fraction of a millisecond is run more often."""
NOISE = 1.02
"""Of medians of interleaved runs: what is nearer counts as equal."""

CONVERT = """
import contextlib, io, json, pathlib, sys, time
import onnx2tf
made = []
for line in sys.stdin:
    source, out = json.loads(line)
    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            onnx2tf.convert(input_onnx_file_path=source, output_folder_path=out, batch_size=1,
                            copy_onnx_input_output_names_to_tflite=True,
                            output_dynamic_range_quantized_tflite=True, verbosity="error")
        said = {"seconds": time.perf_counter() - started}
    except BaseException as error:
        said = {"error": f"{type(error).__name__}: {error}"[:200]}
    print("SPRUE " + json.dumps(said), flush=True)
"""
"""The peer's side: it reads [source, folder] lines. It cannot be told to leave float16 and int8 out."""

Array = np.ndarray[Any, Any]


def bert() -> Encoder:
    """The base model with its own vocabulary."""
    return Encoder(768, 12, 64, words=30522)


@dataclass(frozen=True)
class Network:
    """A model and samples for it: the array is [samples, ...] of its one input."""

    model: onnx.ModelProto
    samples: Array


@dataclass
class Side:
    """What one converter made: seconds, and its files' bytes by precision."""

    seconds: float = float("nan")
    files: dict[str, bytes] = field(default_factory=dict)
    error: str = ""


def networks(only: list[str], rounds: int) -> Iterator[tuple[str, Network]]:
    """Those of `selected.py`, BERT with its own vocabulary; then MLPerf Tiny."""
    for name, case in CASES.items():
        if name in only:
            torch.manual_seed(0)
            net = (bert if name == "bert" else case.network)().eval()
            rows, _ = case.samples(rounds + 1, 3)
            yield name, Network(exported(net, torch.from_numpy(rows[:2])), rows)
    for name, original in TINY.items():
        path = DATA / f"{original.float_file}.tflite"
        if name in only and path.is_file():
            model = rebuild(path.read_bytes())
            yield name, Network(model, original.samples(rounds + 1, seed=3))


def ours(source: Path, name: str) -> Side:
    """float32 once warm and once more for its bytes; then what else the recipe may ask for."""
    from sprue.backend import Variant, find
    from sprue.graph import read_model
    from sprue.target import load_target

    backend, made = find("tflite"), Side()
    taken: list[float] = []
    for precision in ("float32", "float32", "float32", "float16", "int8-dynamic"):
        variant = Variant(load_target("mobile"), "tflite", precision)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            model = read_model(source)
            for change in backend.passes(variant):
                model = change.apply(model, {})
            backend.compile(model, variant, {}, Path(folder))
            if precision == "float32":
                taken.append(time.perf_counter() - started)
            data = (Path(folder) / backend.entry(variant)).read_bytes()
        if precision in made.files and made.files[precision] != data:
            sys.exit(f"{name}: the same model gave other bytes")
        made.files[precision] = data
    made.seconds = statistics.median(taken)
    return made


class Peer:
    """One process of the peer's Python that has onnx2tf imported."""

    FILES: Mapping[str, str] = {
        "float32": "_float32", "float16": "_float16", "int8-dynamic": "_dynamic_range_quant"
    }  # fmt: skip

    def __init__(self, python: Path) -> None:
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # where it looks for onnxsim
        self._process = subprocess.Popen(
            [python, "-c", CONVERT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PATH": path},
        )  # fmt: skip

    def convert(self, source: Path, out: Path) -> Side:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(source), str(out)]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("SPRUE "):
                said = json.loads(line.removeprefix("SPRUE "))
                break
        else:
            return Side(error="its process ended")
        places = {p: out / f"{source.stem}{end}.tflite" for p, end in self.FILES.items()}
        files = {p: place.read_bytes() for p, place in places.items() if place.is_file()}
        return Side(said.get("seconds", float("nan")), files, said.get("error", ""))


def peer_python(wanted: str | None) -> Path | None:
    """The Python of an environment that has the peer; None where no Python here can have it."""
    base = next((p for p in ([wanted] if wanted else PYTHONS) if _runs(p)), None)
    if base is None:
        print(f"  {PEER}: no Python 3.12 or newer here; only ours")
        return None
    return installed(CACHE / "onnx2tf", [PEER], base)


def _runs(python: str) -> bool:
    try:
        done = subprocess.run([python, "-c", ""], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def runner(data: bytes, like: Array) -> Callable[[Array], Array]:
    """A .tflite file of one input on one thread; an input that it wants channels last is given so."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=data, num_threads=1)
    made.allocate_tensors()
    (fed,), said = made.get_input_details(), made.get_output_details()[0]
    last = tuple(fed["shape"]) != like.shape

    def run(row: Array) -> Array:
        made.set_tensor(fed["index"], (np.moveaxis(row, 1, -1) if last else row).astype(fed["dtype"]))
        made.invoke()
        found: Array = made.get_tensor(said["index"])
        return found

    return run


def reference(model: onnx.ModelProto) -> Callable[[Array], Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(row: Array) -> Array:
        found: Array = session.run(None, {name: row})[0]
        return found

    return run


def exact(model: onnx.ModelProto) -> Callable[[Array], Array]:
    """The network with all of its float32 in float64, by ONNX's own reference."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    for tensor in (*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))):
        if tensor.data_type == TensorProto.FLOAT:
            double = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(double, tensor.name))
    for cast in (a for n in graph.node if n.op_type == "Cast" for a in n.attribute):
        cast.i = TensorProto.DOUBLE if cast.i == TensorProto.FLOAT else cast.i
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    graph.ClearField("value_info")
    evaluator, name = ReferenceEvaluator(wide), graph.input[0].name

    def run(row: Array) -> Array:
        given = row.astype(np.float64) if row.dtype == np.float32 else row
        (found,) = evaluator.run(None, {name: given})
        return np.asarray(found)

    return run


def compare(name: str, network: Network, peer: Peer | None, folder: Path) -> None:
    source = folder / f"{name}.onnx"
    onnx.save(network.model, source)
    sides = {"sprue": ours(source, name)}
    if peer is not None:
        sides["onnx2tf"] = peer.convert(source, folder / "peer")
    theirs, exactly = reference(network.model), exact(network.model)
    rows = [row[None] for row in network.samples]
    some = [(row, theirs(row), exactly(row)) for row in rows[:8]]
    runs = {s: runner(side.files["float32"], rows[0]) for s, side in sides.items() if side.files}
    errors = {s: max(error(run(row), wanted) for row, wanted, _ in some) for s, run in runs.items()}
    rounding = {s: max(error(run(row), wanted) for row, _, wanted in some) for s, run in runs.items()}
    unavoidable = max(error(made, wanted) for _, made, wanted in some)
    times: dict[str, list[float]] = {s: [] for s in runs}
    ends = time.perf_counter() + LEAST_SECONDS
    while not times["sprue"] or time.perf_counter() < ends:
        for row in rows:  # they have been run above: all are warm
            for side, run in runs.items():
                started = time.perf_counter()
                run(row)
                times[side].append(time.perf_counter() - started)
    for side, made in sides.items():
        if side not in runs:
            print(f"  {name:11} {side:7} made nothing: {made.error}", flush=True)
            continue
        whole = len(made.files["float32"])
        parts = "  ".join(f"{p} {len(d) / whole:.3f}" for p, d in made.files.items() if p != "float32")
        print(
            f"  {name:11} {side:7} {made.seconds:7.3f} s  {whole:>11,} bytes  error {errors[side]:.1e}, "
            f"of float64 {rounding[side]:.1e} (onnxruntime {unavoidable:.1e})  "
            f"{statistics.median(times[side]) * 1e3:8.3f} ms  {parts}",
            flush=True,
        )
    for miss in misses(name, sides, errors, {s: statistics.median(t) for s, t in times.items()}):
        print(f"              missed: {miss}", flush=True)


def error(actual: Array, expected: Array) -> float:
    difference = np.abs(actual.reshape(expected.shape).astype(np.float64) - expected)
    return float(difference.max() / np.abs(expected).max())


def misses(
    name: str, sides: Mapping[str, Side], errors: Mapping[str, float], latency: Mapping[str, float]
) -> Iterator[str]:
    """The aims that do not hold, in words."""
    mine = sides["sprue"]
    size = {p: len(d) for p, d in mine.files.items()}
    limit = 0.2 if size["float32"] < SMALL else 1.0
    if name != "bert" and mine.seconds > limit:
        yield f"{mine.seconds:.2f} s to convert (aim: {limit} s)"
    if errors["sprue"] > ERROR:
        yield f"error {errors['sprue']:.1e} (aim: {ERROR})"
    if size["float16"] / size["float32"] > HALF:
        yield f"float16 is {size['float16'] / size['float32']:.3f} of float32 (aim: {HALF})"
    precision, part = SIZES.get(name, ("int8-dynamic", 1.0))
    if size[precision] / size["float32"] > part:
        yield f"{precision} is {size[precision] / size['float32']:.3f} of float32 (aim: {part})"
    theirs = sides.get("onnx2tf")
    if theirs is None or not theirs.files:
        return
    for found, data in theirs.files.items():
        if size[found] > len(data):
            yield f"{found} is larger: {size[found]:,} bytes, theirs {len(data):,}"
    if latency["sprue"] > NOISE * latency["onnx2tf"]:
        yield f"slower: {latency['sprue'] / latency['onnx2tf']:.2f} of onnx2tf's latency"


def main() -> None:
    every = [*CASES, *TINY]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=every, default=every)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--python", help="of 3.12 or newer, for onnx2tf")
    parser.add_argument("--peer", choices=["onnx2tf", "none"], default="onnx2tf")
    given = parser.parse_args()
    if importlib.util.find_spec("ai_edge_litert") is None:
        sys.exit('needs pip install "sprue[mobile]"')
    from sprue.machine import fingerprint

    print(f"{fingerprint()}; load {os.getloadavg()[0]:.1f}; medians of {given.rounds} or more, one thread")
    python = peer_python(given.python) if given.peer == "onnx2tf" else None
    peer = Peer(python) if python is not None else None
    for name, network in networks(given.only, given.rounds):
        with tempfile.TemporaryDirectory(prefix="sprue-tflite-") as folder:
            compare(name, network, peer, Path(folder))


if __name__ == "__main__":
    main()
