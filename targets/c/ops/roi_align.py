"""RoiAlign: regions of an image, averaged or maximised into cells of equal number."""

from __future__ import annotations

import numpy as np

from ..literals import c_float, c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Write


def lower_roi_align(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, rois, batch = (graph.value(i) for i in node.inputs[:3])
    mode = node.text("mode", "avg")
    if x.dtype != np.float32 or rois.dtype != np.float32 or mode not in ("avg", "max"):
        raise Unsupported(f"RoiAlign of {x.dtype} in mode '{mode}' has no C kernel", "use float32")
    default = "half_pixel" if graph.opset >= 16 else "output_half_pixel"
    params = {
        "count": rois.shape[0], "batch": x.shape[0], "channels": x.shape[1],
        "height": x.shape[2], "width": x.shape[3], "index": c_type(batch.dtype),
        "rows": node.integer("output_height", 1), "columns": node.integer("output_width", 1),
        "ratio": max(node.integer("sampling_ratio", 0), 0), "scale": c_float(node.real("spatial_scale", 1.0)),
        "half": node.text("coordinate_transformation_mode", default) == "half_pixel", "mode": mode,
    }  # fmt: skip
    return [Call("roi_align.c.j2", params, (*map(Read, node.inputs[:3]), Write(node.outputs[0])))]


OPERATORS = {"RoiAlign": lower_roi_align}
