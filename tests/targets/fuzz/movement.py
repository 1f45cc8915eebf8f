"""Steps by which a random graph grows: what moves, repeats, cuts and joins elements."""

from __future__ import annotations

import numpy as np

from .growing import ALL, FLOATS, INTEGERS, NUMBERS, Growing, Skip
from .steps import Step


def transpose(g: Growing) -> None:
    x = g.pick(ALL)
    rank = g.values[x].ndim
    perm = [int(i) for i in np.random.default_rng(g.choose(0, 99)).permutation(rank)]
    g.moved("Transpose", [x], perm=None if not perm or g.maybe(4) else perm)


def reshape(g: Growing) -> None:
    x = g.pick(ALL)
    shape = list(g.values[x].shape)
    size = int(np.prod(shape))
    kind = g.choose(0, 3)
    if kind == 0 and len(shape) > 1:  # two neighbours become one
        i = g.choose(0, len(shape) - 2)
        target = [*shape[:i], shape[i] * shape[i + 1], *shape[i + 2 :]]
    elif kind == 1 and shape:  # one becomes two
        i = g.choose(0, len(shape) - 1)
        factor = g.one_of([f for f in (1, 2, 3, shape[i]) if shape[i] % f == 0])
        target = [*shape[:i], factor, shape[i] // factor, *shape[i + 1 :]]
    elif kind == 2:
        target = [size]
    else:
        rows = g.one_of([f for f in (1, 2, 3, 4, size) if size % f == 0])
        target = [rows, size // rows]
    if g.maybe(3):
        i = g.choose(0, len(target) - 1)
        target[i] = -1
    target = [0 if i < len(shape) and t == shape[i] and g.maybe(4) else t for i, t in enumerate(target)]
    g.moved("Reshape", [x, g.integers(target)])


def reshape_by_shape(g: Growing) -> None:
    """As exporters write `x.view(x.size(0), -1)`."""
    x = g.pick(ALL, rank=(2, 3, 4))
    (shape,) = g.add("Shape", [x])
    (first,) = g.add("Gather", [shape, g.integers(0)], axis=0)
    (first,) = g.add("Unsqueeze", [first, g.integers([0])])
    (target,) = g.add("Concat", [first, g.integers([-1])], axis=0)
    g.moved("Reshape", [x, target])


def flatten(g: Growing) -> None:
    x = g.pick(ALL)
    rank = g.values[x].ndim
    g.moved("Flatten", [x], axis=g.choose(-rank, rank))


def squeeze(g: Growing) -> None:
    x = g.pick(ALL)
    shape = g.values[x].shape
    ones = [i if g.maybe() else i - len(shape) for i, d in enumerate(shape) if d == 1]
    if not ones:
        raise Skip
    axes = ones if g.maybe() else [g.one_of(ones)]
    g.moved("Squeeze", [x] if g.maybe(4) else [x, g.integers(axes)])


def unsqueeze(g: Growing) -> None:
    x = g.pick(ALL, rank=(0, 1, 2, 3, 4))
    rank = g.values[x].ndim + 1
    g.moved("Unsqueeze", [x, g.integers([g.choose(-rank, rank - 1)])])


def expand(g: Growing) -> None:
    x = g.pick(ALL)
    shape = [d if d > 1 or g.maybe() else g.choose(1, 3) for d in g.values[x].shape]
    shape = [1 if g.maybe(4) else d for d in shape]
    g.moved("Expand", [x, g.integers([2, *shape] if g.maybe(4) else shape)])


def tile(g: Growing) -> None:
    x = g.pick(ALL)
    g.moved("Tile", [x, g.integers([g.choose(1, 2) for _ in g.values[x].shape])])


def cut(g: Growing) -> None:
    x = g.pick(ALL)
    shape = g.values[x].shape
    if not shape:
        raise Skip
    axes = sorted({g.choose(0, len(shape) - 1) for _ in range(g.choose(1, 2))})
    starts, ends, steps = [], [], []
    for axis in axes:
        d, step = shape[axis], g.one_of((1, 1, 2, -1, -2, 3))
        a, b = sorted((g.choose(0, d), g.choose(0, d)))
        start, end = (a, b) if step > 0 else (b - 1, a - 1 if a else -(2**40))
        if step > 0 and b == d and g.maybe():
            end = 2**62
        if step > 0 and g.maybe(3):
            start -= d
        starts.append(start)
        ends.append(end)
        steps.append(step)
    named = [a if g.maybe() else a - len(shape) for a in axes]
    g.moved("Slice", [x, g.integers(starts), g.integers(ends), g.integers(named), g.integers(steps)])


def gather(g: Growing) -> None:
    x = g.pick(ALL)
    axis = g.axis(x)
    size = g.values[x].shape[axis]
    rng = np.random.default_rng(g.choose(0, 999))
    shape = g.one_of([(), (1,), (3,), (2, 2)])
    indices = g.constant(rng.integers(-size, size, shape), g.one_of(INTEGERS))
    g.moved("Gather", [x, indices], axis=axis)


def gather_computed(g: Growing) -> None:
    """Indices that only a run has: brought into range by Mod."""
    x = g.pick(ALL)
    indices = g.pick(INTEGERS, rank=(0, 1, 2))
    axis = g.axis(x)
    size = g.constant(g.values[x].shape[axis], g.values[indices].dtype.name)
    (inside,) = g.add("Mod", [indices, size])
    g.moved("Gather", [x, inside], axis=axis)


def gather_elements(g: Growing) -> None:
    x = g.pick(ALL)
    axis = g.axis(x)
    shape = list(g.values[x].shape)
    size = shape[axis]
    shape[axis] = g.choose(1, 3)
    rng = np.random.default_rng(g.choose(0, 999))
    g.moved(
        "GatherElements", [x, g.constant(rng.integers(-size, size, shape), g.one_of(INTEGERS))], axis=axis
    )


def gather_nd(g: Growing) -> None:
    x = g.pick(ALL, rank=(2, 3, 4))
    shape = g.values[x].shape
    depth = g.choose(1, len(shape))
    rng = np.random.default_rng(g.choose(0, 999))
    rows = g.one_of([(2,), (3,), (2, 1)])
    indices = np.stack([rng.integers(-d, d, rows) for d in shape[:depth]], axis=-1)
    g.moved("GatherND", [x, g.integers(indices)])


def gather_nd_each(g: Growing) -> None:
    """Its indices in each part of the batch."""
    if g.maybe():
        raise Skip  # TFLite cannot
    x = g.pick(ALL, rank=(2, 3, 4))
    shape = g.values[x].shape
    apart = g.choose(1, len(shape) - 1)
    rng = np.random.default_rng(g.choose(0, 999))
    depth = g.choose(1, len(shape) - apart)
    rows = (*shape[:apart], g.choose(1, 3))
    indices = np.stack([rng.integers(-d, d, rows) for d in shape[apart : apart + depth]], axis=-1)
    g.moved("GatherND", [x, g.integers(indices)], batch_dims=apart)


def reductions(g: Growing) -> tuple[str, ...]:
    return ("add", "mul", "max", "min") if g.opset >= 18 else ("add", "mul") if g.opset >= 16 else ()


def scatter(g: Growing) -> None:
    x = g.pick(NUMBERS)
    axis = g.axis(x)
    shape = list(g.values[x].shape)
    rng = np.random.default_rng(g.choose(0, 999))
    count = g.choose(1, shape[axis])
    whole = list(shape)
    whole[axis] = count
    columns = np.argsort(rng.random(shape), axis=axis).take(range(count), axis=axis)  # no index twice
    updates = g.constant(g.random(g.values[x].dtype.name, whole))
    reduction = g.one_of((None, None, *reductions(g)))
    op = "ScatterElements" if g.opset >= 11 else "Scatter"
    g.moved(op, [x, g.integers(columns), updates], axis=axis, reduction=reduction)
    if reduction:
        g.sure.discard(g.nodes[-1].output[0])


def scatter_nd(g: Growing) -> None:
    x = g.pick(NUMBERS, rank=(1, 2, 3))
    shape = g.values[x].shape
    rows = g.choose(1, shape[0])
    rng = np.random.default_rng(g.choose(0, 999))
    indices = rng.permutation(shape[0])[:rows, None]
    updates = g.constant(g.random(g.values[x].dtype.name, (rows, *shape[1:])))
    reduction = g.one_of((None, None, *reductions(g)))
    g.moved("ScatterND", [x, g.integers(indices), updates], reduction=reduction)
    if reduction:
        g.sure.discard(g.nodes[-1].output[0])


def concat(g: Growing) -> None:
    x = g.pick(ALL)
    axis = g.axis(x)
    value = g.values[x]
    axis %= value.ndim

    def rest(shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[:axis] + shape[axis + 1 :]

    fits = [
        n
        for n, v in g.values.items()
        if v.dtype == value.dtype and v.ndim == value.ndim and rest(v.shape) == rest(value.shape)
    ]
    parts = [g.one_of(fits) for _ in range(g.choose(1, 2))] + [x]
    g.moved("Concat", parts, axis=axis if g.maybe() else axis - value.ndim)


def split(g: Growing) -> None:
    x = g.pick(ALL)
    axis = g.axis(x)
    size = g.values[x].shape[axis]
    if size < 2:
        raise Skip
    if g.maybe():
        at = g.choose(1, size - 1)
        g.moved("Split", [x, g.integers([at, size - at])], 2, axis=axis)
    elif g.opset >= 18:
        parts = g.choose(2, min(size, 3))  # the last may be smaller
        g.moved("Split", [x], parts, axis=axis, num_outputs=parts)
    else:
        g.moved("Split", [x], 2, axis=axis)


def pad(g: Growing) -> None:
    x = g.pick(FLOATS if g.maybe() else ALL if g.maybe() else NUMBERS, rank=(1, 2, 3, 4, 5))
    rank = g.values[x].ndim
    amounts = [g.choose(-1, 2) if g.maybe(8) else g.choose(0, 2) for _ in range(2 * rank)]
    mode = g.one_of(("constant", "constant", "edge", "reflect", "wrap" if g.opset >= 19 else "edge"))
    wanted = mode == "constant" and g.maybe()
    low = 0 if g.values[x].dtype.kind in "ub" else -2
    value = g.constant(g.choose(low, 2), g.values[x].dtype.name) if wanted else None
    if g.opset >= 18 and g.maybe(4):
        axes = sorted({g.choose(0, rank - 1) for _ in range(2)})
        amounts = [g.choose(0, 2) for _ in range(2 * len(axes))]
        named = [a - rank if g.maybe() else a for a in axes]
        g.moved("Pad", [x, g.integers(amounts), value or "", g.integers(named)], mode=mode)
        return
    g.moved("Pad", [x, g.integers(amounts), *([value] if value else [])], mode=mode)


def blocks(g: Growing) -> None:
    x = g.pick(rank=(4,))
    op = g.one_of(("DepthToSpace", "SpaceToDepth"))
    mode = g.one_of((None, "DCR", "CRD")) if op == "DepthToSpace" else None
    g.moved(op, [x], blocksize=2, mode=mode)


def triangle(g: Growing) -> None:
    x = g.pick(ALL, rank=(2, 3, 4))
    k = [g.integers(g.choose(-2, 2))] if g.maybe() else []
    g.moved("Trilu", [x, *k], upper=g.one_of((0, 1)))


def compress(g: Growing) -> None:
    x = g.pick(ALL)
    shape = g.values[x].shape
    axis = None if g.maybe(3) else g.axis(x)
    size = g.values[x].size if axis is None else shape[axis]
    kept = g.random("bool", (g.choose(1, size),))
    kept[0] = True
    g.moved("Compress", [x, g.constant(kept)], axis=axis)


def reverse_parts(g: Growing) -> None:
    x = g.pick(ALL, rank=(2, 3, 4))
    time = g.choose(0, 1)
    steps, batch = g.values[x].shape[time], g.values[x].shape[1 - time]
    lengths = np.random.default_rng(g.choose(0, 999)).integers(1, steps + 1, batch)
    g.moved("ReverseSequence", [x, g.integers(lengths)], time_axis=time, batch_axis=1 - time)


def identity_like(g: Growing) -> None:
    x = g.pick(NUMBERS, rank=(2,))
    (made,) = g.moved("EyeLike", [x], k=g.one_of((None, 1, -1)), dtype=g.one_of((None, 1)))
    if g.values[made].dtype == np.float32 and g.values[x].dtype == np.float32:
        g.add("Add", [x, made])


def cast_bits(g: Growing) -> None:
    """Of integers: a float's last bits are its rounding errors."""
    x = g.pick(("int32", "int64", "int8", "uint8"))
    to = {"int32": 12, "int64": 13, "int8": 2, "uint8": 3}[g.values[x].dtype.name]
    g.moved("BitCast", [x], to=to)


def through_nothing(g: Growing) -> None:
    """What exporters leave behind: a Dropout that drops nothing, an Identity, a Concat or a Sum of one."""
    x = g.pick()
    op = g.one_of(("Dropout", "Identity", "Concat", "Sum", "Transpose"))
    g.moved(op, [x], axis=0 if op == "Concat" else None)


STEPS: tuple[Step, ...] = (
    transpose, reshape, reshape_by_shape, flatten, squeeze, unsqueeze, expand, tile, cut, cut, gather,
    gather_computed, gather_elements, gather_nd, scatter, scatter_nd, concat, concat, split, pad, blocks,
    triangle, gather_nd_each, compress, reverse_parts, identity_like, cast_bits, through_nothing,
)  # fmt: skip
