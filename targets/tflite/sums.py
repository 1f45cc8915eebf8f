"""Long products in parts, so that float32 rounds less.

XNNPACK adds the terms of a product one after the other and rounds each sum on the way: over 3072 terms the
result is off by 1e-6 of itself, over 768 by half of that. So a FULLY_CONNECTED with constant weights over
many terms becomes several over a part of the terms each, and their sum. That takes no longer where there are
1024 terms or more, and some percent longer where there are fewer (benchmarks/README.md, `tflite.py`).

Not for int8, where each part would have scales of its own, nor for float16, whose weights are off by more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .emit import Operation, Tensor
from .flatbuffer import reachable

FEWEST = 1024
"""Terms of a product that is cut."""
LONGEST = 512
"""Terms of a part."""


def split_products(outputs: Sequence[Tensor]) -> None:
    """Change the graph of `outputs` in place. What several products read is cut once."""
    pieces: dict[tuple[int, int], list[Tensor]] = {}
    operations = reachable(outputs)
    whole = [t for o in operations if _parts(o) == 1 for t in o.inputs if t is not None]
    for operation in operations:
        parts, x = _parts(operation), operation.inputs[0]
        if parts == 1 or x is None or _shared(operation.inputs[1], whole):
            continue
        key = (id(x), parts)
        if key not in pieces:
            pieces[key] = _cut(x, parts, operation.node)
        _become_sum(operation, _products(operation, pieces[key]))


def _parts(operation: Operation) -> int:
    """How many equal parts its terms are cut into: the fewest that are short enough; 1: it is left whole."""
    if operation.code != "FULLY_CONNECTED":
        return 1
    x, weights = operation.inputs[0], operation.inputs[1]
    if x is None or weights is None or weights.data is None or weights.dtype != np.float32:
        return 1
    terms = weights.shape[1]
    if terms < FEWEST or x.shape[-1] != terms:
        return 1
    fewest = -(-terms // LONGEST)
    return next((n for n in range(fewest, 2 * fewest) if terms % n == 0), 1)


def _shared(weights: Tensor | None, whole: Sequence[Tensor]) -> bool:
    """Whether the file holds them for another operation as well: an embedding that is also the head."""
    assert weights is not None
    alike = [t for t in whole if t.data is not None and (t.shape, t.dtype) == (weights.shape, weights.dtype)]
    return any(t is weights or np.array_equal(t.data, weights.data) for t in alike)  # type: ignore[arg-type]  # has data


def _cut(x: Tensor, parts: int, node: str) -> list[Tensor]:
    """The parts of the last axis."""
    axis = np.array(x.rank - 1, np.int32)
    place = Tensor(f"{x.name}/axis", (), axis.dtype, axis)
    made = Operation("SPLIT", [place, x], [], {"numSplits": parts}, node=node)
    shape = (*x.shape[:-1], x.shape[-1] // parts)
    made.outputs += [Tensor(f"{x.name}/{i}", shape, x.dtype, producer=made) for i in range(parts)]
    return made.outputs


def _products(whole: Operation, pieces: Sequence[Tensor]) -> list[Tensor]:
    """Each piece times its columns of the weights, the first with the bias."""
    weights, bias, out = whole.inputs[1], whole.inputs[2], whole.outputs[0]
    assert weights is not None
    assert weights.data is not None
    made = []
    for i, (piece, columns) in enumerate(zip(pieces, np.split(weights.data, len(pieces), 1), strict=True)):
        held = Tensor(f"{weights.name}/{i}", columns.shape, columns.dtype, np.ascontiguousarray(columns))
        options = {k: v for k, v in whole.options.items() if k != "fusedActivationFunction"}
        inputs = [piece, held, None if i else bias]
        made.append(_result(Operation("FULLY_CONNECTED", inputs, [], options, node=whole.node), out, i))
    return made


def _become_sum(whole: Operation, addends: Sequence[Tensor]) -> None:
    """`whole` is the last ADD now, with its activation, so that nothing changes for its readers."""
    total, out = addends[0], whole.outputs[0]
    options: dict[str, object] = {"potScaleInt16": False}
    for i, addend in enumerate(addends[1:-1]):
        add = Operation("ADD", [total, addend], [], dict(options), node=whole.node)
        total = _result(add, out, len(addends) + i)
    if (activation := whole.options.get("fusedActivationFunction")) is not None:
        options["fusedActivationFunction"] = activation
    whole.code, whole.inputs, whole.options = "ADD", [total, addends[-1]], options


def _result(operation: Operation, like: Tensor, number: int) -> Tensor:
    operation.outputs.append(Tensor(f"{like.name}/{number}", like.shape, like.dtype, producer=operation))
    return operation.outputs[0]
