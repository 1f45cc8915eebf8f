"""How this shared library is called from Python. load.py calls it, once the contract holds and every byte is
proven; sprue verifies the library through the same functions.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RUNNING = threading.Lock()
"""A library has one arena, and whoever opens it twice in a process gets the same one."""


def open_artifact(entry: Path, contract: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Inputs by name, [samples, ...] -> outputs by name. Threads may share it: they run one after another."""
    interface = json.loads((entry.parent / "report.json").read_text())["interface"]
    return bound(ctypes.CDLL(str(entry)), interface)


def bound(
    library: ctypes.CDLL, interface: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The library's function on arrays. Inputs must be of the dtypes and shapes in `interface`."""
    import numpy as np

    def place(port: Mapping[str, Any]) -> Any:
        function = library[port["function"]]
        function.restype = ctypes.c_void_p
        dtype, shape = np.dtype(port["dtype"]), tuple(port["shape"])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(function()) if size else b""
        return np.frombuffer(memory, dtype).reshape(shape)

    fed = [(port["name"], place(port)) for port in interface["inputs"]]
    made = [(port["name"], place(port)) for port in interface["outputs"]]
    invoke = library[interface["run"]]
    invoke.restype = None

    def once(inputs: Mapping[str, Any], at: int) -> list[Any]:
        for name, memory in fed:
            memory[...] = inputs[name][at : at + 1].reshape(memory.shape)
        invoke()
        return [memory.copy() for _, memory in made]

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        with RUNNING:
            parts = [once(inputs, i) for i in range(len(next(iter(inputs.values()))))]
        return {
            name: np.concatenate([p[k] for p in parts])
            if parts and memory.ndim
            else np.array([p[k] for p in parts], memory.dtype).reshape(len(parts), *memory.shape[1:])
            for k, (name, memory) in enumerate(made)
        }

    return run
