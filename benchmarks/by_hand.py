"""What does sprue add to calling onnxruntime, openvino, nncf and litert by hand?

Both sides make, run and time the same variants of `recipes/digits.toml` for server-cpu and mobile, cold: a
new process each time, an empty cache for sprue. By hand is one process, one step after the other, as a script
would be: no cache, no checks, no bundle. With `-j1` sprue has one worker too; with `-j2` it uses two.

    python benchmarks/by_hand.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, ROUND_SECONDS, ROUND_RUNS, LOADS = 10, 0.04, 200, 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--by-hand", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.by_hand:
        by_hand(arguments.by_hand)
        return
    from sprue.machine import fingerprint

    seconds: dict[str, list[float]] = {"by hand": [], "sprue -j1": [], "sprue -j2": []}
    for _ in range(arguments.rounds):
        for name in seconds:
            with tempfile.TemporaryDirectory() as folder:
                seconds[name].append(_time(_command(name, folder)))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{fingerprint()}; medians of {arguments.rounds}")
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}"
        print(f"  {name:10} {median:6.2f} s  ({spread})  ratio {median / medians['by hand']:.2f}")


def _command(name: str, folder: str) -> list[str]:
    if name == "by hand":
        return [sys.executable, __file__, "--by-hand", folder]
    places = ["--cache", f"{folder}/cache", "--store", f"{folder}/store"]
    only = ["--target", "server-cpu", "--target", "mobile"]
    recipe = str(ROOT / "recipes" / "digits.toml")
    return [sys.executable, "-m", "sprue", "build", recipe, *only, *places, name.removeprefix("sprue ")]


def _time(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def by_hand(out: Path) -> None:
    """The same variants, evaluated and timed the same way, with the libraries alone."""
    import nncf
    import numpy as np
    import onnxruntime as ort
    import openvino as ov
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    folder = ROOT / "models" / "digits"
    source = folder / "digits.onnx"
    calibration = np.load(folder / "calibration.npz")["image"]
    evaluation = np.load(folder / "evaluation.npz")
    images, labels = evaluation["image"], evaluation["label"]

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self.left = iter([{"image": calibration}])

        def get_next(self) -> dict[str, object] | None:
            return next(self.left, None)

    quantize_dynamic(source, out / "dynamic.onnx", weight_type=QuantType.QInt8, reduce_range=True)
    quantize_static(source, out / "static.onnx", Reader(), per_channel=True, reduce_range=True)

    def onnxruntime_runner(path: Path):  # type: ignore[no-untyped-def]  # a script by hand
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"image": x})[0]

    core = ov.Core()
    converted = core.read_model(source)
    ov.save_model(converted, out / "float.xml", compress_to_fp16=False)
    ov.save_model(nncf.quantize(converted, nncf.Dataset([calibration])), out / "int8.xml")

    def openvino_runner(path: Path):  # type: ignore[no-untyped-def]
        compiled = ov.Core().compile_model(
            path, "CPU", {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        )
        request = compiled.create_infer_request()
        return lambda x: request.infer({0: x})[compiled.output(0)]

    # No library converts ONNX to TFLite in this environment, so this step is ours on both sides.
    from sprue.backend import Variant, find
    from sprue.graph import read_model
    from sprue.passes.simplify import Simplify
    from sprue.target import load_target

    mobile = Variant(load_target("mobile"), "tflite", "float16")
    simple = Simplify(batch=1).apply(read_model(source), {})
    (out / "float16").mkdir()
    find("tflite").compile(simple, mobile, {}, out / "float16")
    (out / "float32").mkdir()
    find("tflite").compile(simple, Variant(mobile.target, "tflite", "float32"), {}, out / "float32")
    int8 = quantizer.Quantizer(str(out / "float32" / "model.tflite"), recipe.static_wi8_ai8())
    ranges = int8.calibrate({"serving_default": [{"image": x[None]} for x in calibration]})
    int8.quantize(ranges).export_model(str(out / "int8.tflite"))

    def litert_runner(path: Path):  # type: ignore[no-untyped-def]
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
        scale, zero = given["quantization"]

        def run(x):  # type: ignore[no-untyped-def]
            answers = []
            if given["dtype"] == np.int8:
                x = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
            for sample in x:
                interpreter.set_tensor(given["index"], sample[None])
                interpreter.invoke()
                answers.append(interpreter.get_tensor(result))
            return np.concatenate(answers)

        return run

    onnx = {"float32": source, "int8-dynamic": out / "dynamic.onnx", "int8-static": out / "static.onnx"}
    server = {f"onnxruntime {name}": (onnxruntime_runner, path) for name, path in onnx.items()}
    server |= {f"openvino {name}": (openvino_runner, out / f"{name}.xml") for name in ("float", "int8")}
    tflite = {"float16": out / "float16" / "model.tflite", "int8-static": out / "int8.tflite"}
    mobile_runners = {f"litert {name}": (litert_runner, path) for name, path in tflite.items()}
    for candidates in (server, mobile_runners):
        runners = {}
        for name, (make, path) in candidates.items():
            for _ in range(LOADS + 1):
                runners[name] = make(path)
            accuracy = float((runners[name](images).argmax(axis=1) == labels).mean())
            assert accuracy > 0.97, (name, accuracy)
        times: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(ROUNDS + 1):
            for name, run in runners.items():
                end, runs = time.perf_counter() + ROUND_SECONDS, 0
                while runs < ROUND_RUNS and time.perf_counter() < end:
                    started = time.perf_counter()
                    run(images[runs % 64 : runs % 64 + 1])
                    times[name].append(time.perf_counter() - started)
                    runs += 1
        print({name: statistics.median(t) for name, t in times.items()})


if __name__ == "__main__":
    main()
