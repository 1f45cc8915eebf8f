"""How OpenVINO opens this artifact. load.py calls it, once the contract holds and every byte is proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def open_artifact(entry: Path, contract: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Inputs by name, [samples, ...] -> outputs by name; with the properties that it was verified with."""
    import numpy as np
    import openvino

    core = openvino.Core()
    properties = json.loads((entry.parent / "properties.json").read_text())["CPU"]
    model = core.read_model(entry, entry.with_suffix(".bin"))
    names = [port.any_name for port in model.outputs]
    shapes = [port.partial_shape for port in model.inputs]
    fixed = [s[0].get_length() for s in shapes if len(s) and not s[0].is_dynamic]
    request = core.compile_model(model, "CPU", properties).create_infer_request()

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        count = len(next(iter(inputs.values())))
        step = fixed[0] if fixed else max(count, 1)
        parts = []
        for i in range(0, count, step):
            made = request.infer({k: v[i : i + step] for k, v in inputs.items()})
            parts.append([np.array(value) for value in made.values()])
        return {name: np.concatenate([p[k] for p in parts]) for k, name in enumerate(names)}

    return run
