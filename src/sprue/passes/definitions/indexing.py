"""What picks, places and turns around elements, by operators that gather, compare and select."""

from __future__ import annotations

import math

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer


def one_hot(w: Writer) -> None:
    """Inputs: indices, how many classes, [off, on]. An index outside of -depth..depth-1 is off everywhere."""
    depth = int(w.value(1).reshape(()))
    shape = w.shape()
    axis = w.integer("axis", -1) % (len(shape) + 1)
    indices = w.x() if w.dtype() == np.int64 else w.cast(w.x(), np.int64)
    counted = w.op("Add", indices, w.constant(depth, np.int64))
    wrapped = w.op("Where", w.op("Less", indices, w.constant(0, np.int64)), counted, indices)
    places = w.reshape(wrapped, [*shape[:axis], 1, *shape[axis:]])
    classes = w.constant(np.arange(depth).reshape([-1, *[1] * (len(shape) - axis)]), np.int64)
    off, on = (w.gather(w.x(2), i, 0) for i in (0, 1))
    w.result(w.op("Where", w.op("Equal", places, classes), on, off))


def reverse_sequence(w: Writer) -> None:
    """The first lengths[b] elements of each row turned around."""
    shape = w.shape()
    time, batch = w.integer("time_axis", 0), w.integer("batch_axis", 1)
    size = shape[time]
    at = [1] * len(shape)
    steps = w.constant(
        np.arange(size).reshape([size if a == time else 1 for a in range(len(shape))]), np.int64
    )
    at[batch] = shape[batch]
    lengths = w.reshape(w.x(1), at)
    turned = w.op("Sub", w.op("Sub", lengths, w.constant(1, np.int64)), steps)
    places = w.op("Where", w.op("Less", steps, lengths), turned, steps)
    everywhere = w.op("Expand", places, w.constant(list(shape), np.int64))
    w.result(w.op("GatherElements", w.x(), everywhere, axis=time))


def tensor_scatter(w: Writer) -> None:
    """Rows of `update` into a cache, from an index on that each sample has of its own."""
    shape, new = w.shape(0), w.shape(1)
    axis = w.integer("axis", -2) % len(shape)
    if axis == 0:
        raise NotDefined
    wide = [new[a] if a == axis else 1 for a in range(len(shape))]
    places = w.constant(np.arange(new[axis]).reshape(wide), np.int64)
    if w.has(2):
        places = w.op("Add", places, w.reshape(w.x(2), [shape[0], *[1] * (len(shape) - 1)]))
    if w.text("mode", "linear") == "circular":
        places = w.op("Mod", places, w.constant(shape[axis], np.int64))
    everywhere = w.op("Expand", places, w.constant(list(new), np.int64))
    w.result(w.op("ScatterElements", w.x(0), everywhere, w.x(1), axis=axis))


def pad(w: Writer) -> None:
    """Padding with what is there: each axis gathered by an index that knows where to look."""
    mode, shape = w.text("mode", "constant"), w.shape()
    if mode not in NUMPY_MODES or min(shape, default=0) < 1:
        raise NotDefined
    given = w.integers("pads", ()) if "pads" in w.attributes else w.value(1).ravel().astype(int).tolist()
    axes = [int(a) % len(shape) for a in w.value(3).ravel()] if w.has(3) else list(range(len(shape)))
    value = w.x()
    for i, axis in enumerate(axes):
        before, after = given[i], given[i + len(axes)]
        if (before, after) == (0, 0):
            continue
        if min(before, after) < 0:
            raise NotDefined
        places = np.pad(np.arange(shape[axis]), (before, after), mode=NUMPY_MODES[mode])  # type: ignore[call-overload]  # a text is checked above
        value = w.gather(value, places, axis)
    w.result(value)


NUMPY_MODES = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}


def space_to_depth(w: Writer) -> None:
    """Mode CRD: the place in the block counts less than the channel."""
    if w.text("mode", "DCR") != "CRD":
        raise NotDefined
    n, c, h, width = w.shape()
    b = w.integer("blocksize", 1)
    blocks = w.transpose(w.reshape(w.x(), [n, c, h // b, b, width // b, b]), [0, 1, 3, 5, 2, 4])
    w.result(w.reshape(blocks, [n, c * b * b, h // b, width // b]))


def max_unpool(w: Writer) -> None:
    """Every element back to where the maximum lay; indices count through the whole result before cropping."""
    shape = w.shape()
    rank = len(shape) - 2
    kernel = w.integers("kernel_shape", ())
    strides, pads = w.integers("strides", [1] * rank), w.integers("pads", [0] * 2 * rank)
    whole = [(shape[2 + i] - 1) * strides[i] - pads[i] - pads[rank + i] + kernel[i] for i in range(rank)]
    made = [*shape[:2], *whole]
    zeros = w.like(np.zeros(math.prod(made)))
    flat = [w.reshape(w.x(i), [-1]) for i in (1, 0)]
    placed = w.reshape(w.op("ScatterElements", zeros, *flat, axis=0), made)
    if w.has(2):
        wanted = [int(v) for v in w.value(2).ravel()]
        extra = [a - b for a, b in zip(wanted, made, strict=True)]
        if min(extra) < 0:
            raise NotDefined
        placed = w.pad(placed, [0] * len(made) + extra)
    w.result(placed)


def compress(w: Writer) -> None:
    """With a constant condition it is a Gather."""
    chosen = np.flatnonzero(w.value(1))
    shape = w.shape()
    axis = w.attributes.get("axis")
    value = w.x() if axis is not None else w.reshape(w.x(), [-1])
    along = w.integer("axis", 0) % max(len(shape), 1)
    size = shape[along] if axis is not None else math.prod(shape)
    if not chosen.size or chosen.max() >= size:
        raise NotDefined
    w.result(w.gather(value, chosen, along))


def reduce_bool(w: Writer) -> None:
    """ReduceMax and ReduceMin of truth values, as of numbers."""
    if w.dtype() != np.bool_:
        raise NotDefined
    axes = [w.x(1)] if w.has(1) else []
    w.result(w.cast(w.again(w.node.op_type, [w.cast(w.x(), np.int32), *axes])[0], np.bool_))


def determinant(w: Writer) -> None:
    """Of up to 4 x 4, by minors."""
    *batch, rows, columns = w.shape()
    if rows != columns or rows > 4:
        raise NotDefined
    flat = w.reshape(w.x(), [-1, rows * rows])

    def minor(first: int, left: tuple[int, ...]) -> str:
        cells = [w.slice(flat, 1, first * rows + c, first * rows + c + 1) for c in left]
        if len(left) == 1:
            return cells[0]
        total = ""
        for i, cell in enumerate(cells):
            term = w.op("Mul", cell, minor(first + 1, left[:i] + left[i + 1 :]))
            total = w.op("Sub" if i % 2 else "Add", total, term) if total else term
        return total

    w.result(w.reshape(minor(0, tuple(range(rows))), batch))


def get_element(w: Writer) -> None:
    """A tensor that may be left out, and is not."""
    w._known(0)
    w.result(w.x())


def has_element(w: Writer) -> None:
    if w.has(0):
        w._known(0)
    w.result(w.constant(w.has(0), np.bool_))


def binarizer(w: Writer) -> None:
    limit = w.like(w.real("threshold", 0.0))
    w.result(w.cast(w.op("Greater", w.x(), limit), w.dtype()))


def feature_extractor(w: Writer) -> None:
    """Columns of the last axis; one axis gets a row."""
    picked = w.op("Gather", w.x(), w.reshape(w.x(1), [-1]), axis=-1)
    w.result(picked if len(w.shape()) > 1 else w.reshape(picked, [1, -1]))


DEFINITIONS = {
    "Compress": compress,
    "Det": determinant,
    "MaxUnpool": max_unpool,
    "OneHot": one_hot,
    "OptionalGetElement": get_element,
    "OptionalHasElement": has_element,
    "ReverseSequence": reverse_sequence,
    "TensorScatter": tensor_scatter,
    "ai.onnx.ml.ArrayFeatureExtractor": feature_extractor,
    "ai.onnx.ml.Binarizer": binarizer,
}
FORMS = {
    "Pad": pad,
    "ReduceMax": reduce_bool,
    "ReduceMin": reduce_bool,
    "SpaceToDepth": space_to_depth,
}
