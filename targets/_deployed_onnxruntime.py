"""How onnxruntime opens this artifact. load.py calls it, once the contract holds and every byte is proven."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def open_artifact(entry: Path, contract: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Inputs by name, [samples, ...] -> outputs by name; with the options that it was verified with."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    settings = contract["variant"]["settings"]
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = {
        "off": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[settings["optimization"]]
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(settings["spinning"])))
    session = ort.InferenceSession(str(entry), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    fixed = [i.shape[0] for i in session.get_inputs() if i.shape and isinstance(i.shape[0], int)]
    # Dynamic quantization takes one range over the whole batch: a sample's answer would depend on the others.
    one = contract["variant"]["precision"] == "int8-dynamic"
    size = fixed[0] if fixed else 1 if one else None

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        count = len(next(iter(inputs.values())))
        step = size or max(count, 1)
        parts = [
            session.run(names, {k: v[i : i + step] for k, v in inputs.items()}) for i in range(0, count, step)
        ]
        return {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(names)}

    return run
