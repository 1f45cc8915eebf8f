"""Sliding windows: what Conv and the pools share in their attributes and shapes."""

from __future__ import annotations

from dataclasses import dataclass

from ..nodes import Node, Unsupported


@dataclass(frozen=True)
class Window:
    """A two-dimensional window; one-dimensional ones have height 1. All pairs are (rows, columns).

    `before`: padding above and left; `after`: below and right, with what ceil_mode adds.
    """

    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]
    result: tuple[int, int]

    @property
    def padded(self) -> bool:
        return any((*self.before, *self.after))

    @property
    def pointwise(self) -> bool:
        return self.kernel == (1, 1) and self.strides == (1, 1) and not self.padded


def window(node: Node, shape: tuple[int, ...], kernel: tuple[int, ...], result: tuple[int, ...]) -> Window:
    """The window of `node` over [batch, channels, *spatial]. Raises Unsupported beyond two dimensions."""
    spatial, rank = shape[2:], len(shape) - 2
    if rank not in (1, 2):
        raise Unsupported(f"{node.op} over {rank} spatial dimensions has no C kernel", "use one or two")
    strides = node.integers("strides", [1] * rank)
    dilations = node.integers("dilations", [1] * rank)
    if min((*strides, *dilations, *kernel)) < 1 or len(strides) != rank or len(dilations) != rank:
        raise Unsupported(
            "its strides, dilations or kernel shape are not positive numbers, one per dimension"
        )
    begin = _padding_before(node, spatial, kernel, strides, dilations)
    needed = [(result[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(rank)]
    end = [max(needed[i] - spatial[i] - begin[i], 0) for i in range(rank)]
    return Window(
        _pair(spatial, 1), _pair(kernel, 1), _pair(strides, 1), _pair(dilations, 1),
        _pair(begin, 0), _pair(end, 0), _pair(result[2:], 1),
    )  # fmt: skip


def refuse_unclear(node: Node, over: Window, rank: int) -> None:
    """Raises Unsupported for windows of a pool that ONNX and onnxruntime place differently.

    Those that begin behind the input, at padding that only ceil_mode adds: ONNX before opset 22 counts them.
    And those that auto_pad would pad by less than nothing: onnxruntime then crops the input.
    """
    short = [
        (n - 1) * s + (k - 1) * d + 1 < size
        for n, s, k, d, size in zip(
            over.result, over.strides, over.kernel, over.dilations, over.size, strict=True
        )
    ]
    if node.text("auto_pad", "NOTSET").startswith("SAME") and any(short):
        raise Unsupported(
            "with auto_pad its windows leave out a part of the input, and runtimes differ in which",
            "export the model with explicit pads",
        )
    begins = [(n - 1) * s - b for n, s, b in zip(over.result, over.strides, over.before, strict=True)]
    if node.integer("ceil_mode", 0) and any(
        begin >= size for begin, size in list(zip(begins, over.size, strict=True))[2 - rank :]
    ):
        raise Unsupported(
            "with ceil_mode its last window lies outside of the input, which runtimes count differently",
            "export the model with ceil_mode=0, or opset 22 or newer",
        )


def _padding_before(
    node: Node,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> list[int]:
    rank = len(spatial)
    mode = node.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = node.integers("pads", [0] * 2 * rank)
        if min(pads, default=0) < 0:
            raise Unsupported("negative padding has no C kernel", "crop with Slice")
        return list(pads[:rank])
    node.ignore("pads")
    if mode == "VALID":
        return [0] * rank
    begin = []
    for i in range(rank):
        count = -(-spatial[i] // strides[i])
        total = max((count - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - spatial[i], 0)
        begin.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
    return begin


def _pair(values: tuple[int, ...] | list[int], first: int) -> tuple[int, int]:
    return (values[0], values[1]) if len(values) == 2 else (first, values[0])
