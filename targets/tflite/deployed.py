"""How LiteRT opens this artifact. load.py calls it, once the contract holds and every byte is proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def open_artifact(entry: Path, contract: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Inputs by name, [samples, ...] -> outputs by name; by the runtime that the contract names."""
    import numpy as np

    if "tflite-runtime" in contract["requires"]["runtime"]:
        from tflite_runtime.interpreter import Interpreter
    else:
        from ai_edge_litert.interpreter import Interpreter

    threads = contract["variant"]["settings"]["threads"]
    interpreter = Interpreter(model_content=entry.read_bytes(), num_threads=threads)
    interpreter.allocate_tensors()
    fed = {d["name"]: (d["index"], d["shape"]) for d in interpreter.get_input_details()}
    made = {d["name"]: d["index"] for d in interpreter.get_output_details()}
    step = next((int(shape[0]) for _, shape in fed.values() if len(shape)), 1)

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        parts = []
        for i in range(0, len(next(iter(inputs.values()))), step):
            for name, (place, _) in fed.items():
                interpreter.set_tensor(place, np.ascontiguousarray(inputs[name][i : i + step]))
            interpreter.invoke()
            parts.append({name: interpreter.get_tensor(place) for name, place in made.items()})
        return {name: np.concatenate([p[name] for p in parts]) for name in made}

    return run
