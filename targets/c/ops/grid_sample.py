"""GridSample: an image read at places that are computed, between its pixels: nearest, linear or cubic.

As ONNX's reference implementation has it: each axis is thrown back or clamped by itself.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels.nest import contiguous
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Write

MODES = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}
"""Neighbours along each axis. The longer names are of opset 16."""


def lower_grid_sample(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, grid = graph.value(node.inputs[0]), graph.value(node.inputs[1])
    mode = node.text("mode", "bilinear" if graph.opset < 20 else "linear")
    padding = node.text("padding_mode", "zeros")
    if x.dtype != np.float32 or grid.dtype != np.float32 or mode not in MODES:
        raise Unsupported(f"GridSample of {x.dtype} in mode '{mode}' has no C kernel", "use float32")
    if padding not in ("zeros", "border", "reflection"):
        raise Unsupported(f"GridSample with padding '{padding}'")
    aligned = bool(node.integer("align_corners", 0))
    spatial = x.shape[2:]
    if min(spatial, default=0) < 1 or (padding == "reflection" and aligned and min(spatial) < 2):
        raise Unsupported(f"GridSample of {list(x.shape)}")
    params = {
        "batch": x.shape[0],
        "channels": x.shape[1],
        "plane": math.prod(spatial),
        "points": math.prod(grid.shape[1:-1]),
        "taps": MODES[mode],
        "padding": padding,
        "aligned": aligned,
        "axes": [{"size": n, "stride": s} for n, s in zip(spatial, contiguous(spatial), strict=True)],
    }
    return [Call("grid_sample.c.j2", params, (*map(Read, node.inputs), Write(node.outputs[0])))]


OPERATORS = {"GridSample": lower_grid_sample}
