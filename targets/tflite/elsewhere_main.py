"""The other side of elsewhere.py, run by a Python that has a TFLite runtime; imports nothing of sprue.

Arguments: folder, number of portions, threads, number of inputs, then the inputs' and the outputs' names.
Reads `model.tflite` and `<i>.npz` (in0, in1, ...), writes `<i>.out.npz` (out0, ...), prints the runtime, its
version and the machine.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

try:
    try:
        from tflite_runtime.interpreter import Interpreter

        RUNTIME = "tflite-runtime"
    except ModuleNotFoundError:
        from ai_edge_litert.interpreter import Interpreter

        RUNTIME = "ai-edge-litert"
except ImportError as error:
    sys.exit(f"no TFLite runtime can be imported: {error}")


def main(folder: Path, count: int, threads: int, inputs: int, names: list[str]) -> None:
    """Raises what the runtime raises; the caller reads the last line of it."""
    interpreter = Interpreter(model_content=(folder / "model.tflite").read_bytes(), num_threads=threads)
    interpreter.allocate_tensors()
    places = {d["name"]: d["index"] for d in interpreter.get_input_details()}
    results = {d["name"]: d["index"] for d in interpreter.get_output_details()}
    for i in range(count):
        with np.load(folder / f"{i}.npz", allow_pickle=False) as archive:
            for k, name in enumerate(names[:inputs]):
                interpreter.set_tensor(places[name], archive[f"in{k}"])
        interpreter.invoke()
        made = {f"out{k}": interpreter.get_tensor(results[n]) for k, n in enumerate(names[inputs:])}
        np.savez(folder / f"{i}.out.npz", **made)
    print(RUNTIME, version(RUNTIME), platform.machine())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
