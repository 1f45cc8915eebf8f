"""Reductions over any axes, ArgMax and ArgMin."""

from __future__ import annotations

import math

import numpy as np

from ..kernels.nest import contiguous, index, loops
from ..literals import as_double, c_type
from ..nodes import Call, Graph, Node, Read, Step, Unsupported, Write, integer_limits

FLOAT = {
    "ReduceSum": ("0.0f", "s + a", "s"),
    "ReduceMean": ("0.0f", "s + a", "s / {count}.0f"),
    "ReduceMax": ("-__builtin_inff()", "a > s || a != a ? a : s", "s"),
    "ReduceMin": ("__builtin_inff()", "a < s || a != a ? a : s", "s"),
    "ReduceProd": ("1.0f", "s * a", "s"),
    "ReduceL1": ("0.0f", "s + (a < 0.0f ? -a : a)", "s"),
    "ReduceL2": ("0.0f", "s + a * a", "sprue_sqrtf(s)"),
    "ReduceSumSquare": ("0.0f", "s + a * a", "s"),
    "ReduceLogSumExp": ("0.0f", "s + sprue_expf(a - most)", "most + sprue_logf(s)"),
    "ReduceLogSum": ("0.0f", "s + a", "sprue_logf(s)"),
}
INTEGER_SUMS = {
    "ReduceSum": ("0", "({type})(({u})s + ({u})a)", "s"),
    "ReduceMax": ("{min}", "a > s ? a : s", "s"),
    "ReduceMin": ("{max}", "a < s ? a : s", "s"),
}


def lower_reduce(node: Node, graph: Graph, _effort: object) -> list[Step]:
    node.ignore("keepdims", "noop_with_empty_axes")
    x = graph.value(node.inputs[0])
    axes = _axes(node, graph, len(x.shape))
    kept = [a for a in range(len(x.shape)) if a not in axes]
    steps = contiguous(x.shape)
    if not axes and node.integer("noop_with_empty_axes", 0):
        raise Unsupported(f"{node.op} over no axes", "remove it")
    outer = loops([x.shape[a] for a in kept], [[steps[a] for a in kept]])
    inner = loops([x.shape[a] for a in axes], [[steps[a] for a in axes]])
    start, step, end = _formula(node, x.dtype, math.prod(x.shape[a] for a in axes))
    params = {
        "type": c_type(x.dtype),
        "outer": outer,
        "inner": inner,
        "base": index(outer, 0),
        "at": index(inner, 0).replace("i", "j"),
        "start": start,
        "step": step,
        "end": end,
        "shifted": node.op == "ReduceLogSumExp",  # by the largest element: exp of 89 is no float32 any more
    }
    return [Call("reduce.c.j2", params, (Read(node.inputs[0]), Write(node.outputs[0])))]


def _axes(node: Node, graph: Graph, rank: int) -> list[int]:
    if node.has(1):
        axes = [int(a) for a in graph.constant(node, 1, "axes").ravel().tolist()]
    else:
        axes = list(node.integers("axes", ()))
    if not axes and not node.integer("noop_with_empty_axes", 0):
        axes = list(range(rank))
    return sorted({a % rank for a in axes}) if rank else []


def _formula(node: Node, dtype: np.dtype[np.generic], count: int) -> tuple[str, str, str]:
    if dtype == np.float32 and node.op in FLOAT:
        start, step, end = FLOAT[node.op]
        return start, step, end.format(count=count)
    if dtype == np.float64 and node.op in FLOAT:
        made = [as_double(t.format(count=count)) for t in FLOAT[node.op]]
        if None not in made:
            return str(made[0]), str(made[1]), str(made[2])
    if dtype.kind in "iu" and node.op in INTEGER_SUMS:
        _, most = integer_limits(dtype)
        names = {
            "type": c_type(dtype),
            "u": f"uint{max(32, dtype.itemsize * 8)}_t",
            "min": f"INT{dtype.itemsize * 8}_MIN" if dtype.kind == "i" else "0",
            "max": str(most) + ("u" if dtype.kind == "u" else ""),
        }
        start, step, end = (t.format(**names) for t in INTEGER_SUMS[node.op])
        return start, step, end
    raise Unsupported(f"{node.op} of {dtype} has no C kernel", "cast it to float32")


def lower_arg(node: Node, graph: Graph, _effort: object) -> list[Step]:
    node.ignore("keepdims")
    x = graph.value(node.inputs[0])
    axis = node.integer("axis", 0) % max(len(x.shape), 1)
    compare = {"ArgMax": ">", "ArgMin": "<"}[node.op] + ("=" if node.integer("select_last_index", 0) else "")
    params = {
        "type": c_type(x.dtype),
        "outer": math.prod(x.shape[:axis]),
        "count": x.shape[axis],
        "inner": math.prod(x.shape[axis + 1 :]),
        "compare": compare,
    }
    return [Call("arg.c.j2", params, (Read(node.inputs[0]), Write(node.outputs[0])))]


OPERATORS = {**dict.fromkeys(FLOAT, lower_reduce), "ArgMax": lower_arg, "ArgMin": lower_arg}
