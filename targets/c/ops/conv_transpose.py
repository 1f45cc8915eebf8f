"""ConvTranspose in float32: plain loops, each output gathers what reaches it."""

from __future__ import annotations

import numpy as np

from ..nodes import Argument, Call, Graph, Node, Read, Step, Unsupported, Write


def lower_conv_transpose(node: Node, graph: Graph, _effort: object) -> list[Step]:
    x, w, y = (graph.value(n) for n in (node.inputs[0], node.inputs[1], node.outputs[0]))
    rank = len(x.shape) - 2
    if x.dtype != np.float32 or rank not in (1, 2, 3):
        raise Unsupported(
            f"ConvTranspose of {x.dtype} over {rank} spatial dimensions", "use float32, up to three"
        )
    strides = node.integers("strides", [1] * rank)
    dilations = node.integers("dilations", [1] * rank)
    kernel = node.integers("kernel_shape", w.shape[2:])
    before = _padding(node, x.shape[2:], y.shape[2:], kernel, strides, dilations)
    arguments: list[Argument] = [Read(node.inputs[0]), Read(node.inputs[1])]
    if node.has(2):
        arguments.append(Read(node.inputs[2]))
    groups = node.integer("group", 1)
    params = {
        "batch": x.shape[0], "groups": groups, "inputs": x.shape[1] // groups, "outputs": w.shape[1],
        "size": x.shape[2:], "result": y.shape[2:], "kernel": kernel,
        "strides": strides, "dilations": dilations, "before": before,
        "bias": node.has(2),
    }  # fmt: skip
    return [Call("conv_transpose.c.j2", params, (*arguments, Write(node.outputs[0])))]


def _padding(
    node: Node,
    size: tuple[int, ...],
    result: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> list[int]:
    """What is cut off before each axis. Derived from the result's shape where ONNX derives it."""
    rank = len(size)
    mode = node.text("auto_pad", "NOTSET")
    extra = node.integers("output_padding", [0] * rank)
    node.ignore("output_shape", "pads")
    if mode == "NOTSET" and "output_shape" not in node.attributes:
        return list(node.integers("pads", [0] * 2 * rank)[:rank])
    if mode == "VALID":
        return [0] * rank
    begin = []
    for i in range(rank):
        total = strides[i] * (size[i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 - result[i]
        begin.append(max(total, 0) // 2 if mode == "SAME_UPPER" else max(total, 0) - max(total, 0) // 2)
    return begin


OPERATORS = {"ConvTranspose": lower_conv_transpose}
