"""LSTM as TFLite's fused operation, one per direction; GRU, RNN and unusual LSTMs written out step by step.

The fused kernel keeps its state in variable tensors, from one run to the next, unless the application resets
them: the same input would give another output the second time. ONNX has no such memory. So an operation of
the graph writes the initial state into the variable tensors at the start of each run; the artifact is as
stateless as its source, and an initial state that is an input of the model works, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..emit import Array, Tensor, Unsupported
from ..layout import Graph, Value
from ..registry import Node, lowers
from .cells import unrolled

GATES = {"input": 0, "output": 1, "forget": 2, "cell": 3}
"""ONNX's order of the gates in W, R and B."""
FUSED_ORDER = ("input", "forget", "cell", "output")
PEEPHOLES = {"input": 0, "output": 1, "forget": 2}
PEEPHOLE_ORDER = ("input", "forget", "output")
STATE = "/state"
"""In the names of the tensors that hold a state: quantizers must leave them as they are."""


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent node: its slices of W, R, B, P and of the initial states."""

    index: int
    reverse: bool


def directions(node: Node) -> list[Direction]:
    kind = node.text("direction", "forward")
    if kind == "bidirectional":
        return [Direction(0, False), Direction(1, True)]
    return [Direction(0, kind == "reverse")]


@lowers("LSTM")
def lstm(g: Graph, node: Node) -> list[Tensor]:
    """X [time, batch, input] -> Y [time, directions, batch, hidden], Y_h, Y_c [directions, batch, hidden]."""
    if not _fusable(node):
        return unrolled(g, node, "LSTM")
    x = _time_major(g, node)
    made = [_fused(g, node, x, d) for d in directions(node)]
    return packed(g, node, made, [last_step(g, y, d) for y, d in zip(made, directions(node), strict=True)])


def _time_major(g: Graph, node: Node) -> Tensor:
    value = node.input(0)
    return g.view(value, (1, 0, 2)) if node.integer("layout") else g.tensor(value)


def _fusable(node: Node) -> bool:
    """Whether the fused kernel computes it: constant weights, default activations, no final cell state."""
    lengths = node.optional(4)
    steps = node.input(0).shape[1 if node.integer("layout") else 0]
    names = node.attributes.get("activations")
    usual = names is None or [bytes(n).lower() for n in names] == (  # type: ignore[attr-defined]  # strings
        [b"sigmoid", b"tanh", b"tanh"] * len(directions(node))
    )
    weights = [node.optional(i) for i in (1, 2, 3, 7)]
    return (
        usual
        and node.input(0).dtype == np.float32
        and all(w is None or w.const is not None for w in weights)
        and (lengths is None or (lengths.const is not None and bool((lengths.const == steps).all())))
        and "clip" not in node.attributes
        and not node.integer("input_forget")
        and not (len(node.outputs) > 2 and node.outputs[2].name)
    )


def _fused(g: Graph, node: Node, x: Tensor, direction: Direction) -> Tensor:
    """[time, batch, input] -> [time, batch, hidden]."""
    hidden = node.input(2).shape[2]
    time, batch, _ = x.shape
    w, r = (_weights(node.input(i), direction, 4) for i in (1, 2))
    b = _biases(node.optional(3), direction, 4, hidden)
    p = node.optional(7)
    holes = None if p is None or p.const is None else p.const[direction.index].reshape(3, hidden)
    name = node.outputs[0].name or node.name
    inputs: list[Tensor | None] = [reversed_time(g, x) if direction.reverse else x]
    inputs += [g.constant(w[GATES[k]], hint=f"{name}/w_{k}") for k in FUSED_ORDER]
    inputs += [g.constant(r[GATES[k]], hint=f"{name}/r_{k}") for k in FUSED_ORDER]
    inputs += [None if holes is None else g.constant(holes[PEEPHOLES[k]]) for k in PEEPHOLE_ORDER]
    inputs += [g.constant(b[GATES[k]], hint=f"{name}/b_{k}") for k in FUSED_ORDER]
    inputs += [None, None]  # no projection
    inputs += [_state(g, node.optional(i), direction, (batch, hidden), x) for i in (5, 6)]
    inputs += [None] * 4  # no layer normalisation
    made = g.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (time, batch, hidden),
        x.dtype,
        fusedActivationFunction="TANH",
        timeMajor=True,
        asymmetricQuantizeInputs=False,
    )
    return reversed_time(g, made) if direction.reverse else made


def _weights(value: Value, direction: Direction, gates: int) -> Array:
    assert value.const is not None
    made: Array = value.const[direction.index].reshape(gates, -1, value.shape[2])
    return made


def _biases(value: Value | None, direction: Direction, gates: int, hidden: int) -> Array:
    """ONNX adds two bias vectors, one for W and one for R."""
    if value is None or value.const is None:
        return np.zeros((gates, hidden), np.float32)
    both = value.const[direction.index].reshape(2, gates, hidden)
    return np.asarray(both[0] + both[1])


def _state(
    g: Graph, initial: Value | None, direction: Direction, shape: tuple[int, int], x: Tensor
) -> Tensor:
    """A variable tensor that an operation fills at the start of each run."""
    hint, g.hint = g.hint, g.hint + STATE
    zeros = g.constant(np.zeros((1, shape[1]) if g.free else shape, np.float32), hint=g.hint + "/zeros")
    start = initial_state(g, initial, direction.index, shape) or zeros
    made = g.add(start, _zero_each(g, x) if g.free and start.data is not None else zeros)
    made.variable = True
    g.hint = hint
    return made


def _zero_each(g: Graph, x: Tensor) -> Tensor:
    """[time, batch, input] -> zeros [batch, 1], whatever the numbers are: no number is above itself."""
    batch = x.shape[1]
    numbers = g.reshape(g.slice(x, [0, 0, 0], [1, batch, 1]), (batch, 1))
    return g.cast(g.compare("GREATER", numbers, numbers), np.float32)


def initial_state(g: Graph, value: Value | None, index: int, shape: tuple[int, int]) -> Tensor | None:
    """The slice [batch, hidden] of an initial state [directions, batch, hidden]."""
    if value is None:
        return None
    if value.shape[1:] != shape:
        raise Unsupported(f"an initial state of shape {list(value.shape)}", "use layout=0")
    if value.const is not None:
        rows = value.const[index]
        alike = g.free and bool((rows == rows[:1]).all())  # zeros that an exporter made for this batch
        return g.constant(rows[:1] if alike else rows)
    return g.reshape(g.slice(g.tensor(value), [index, 0, 0], [1, *shape]), shape)


def reversed_time(g: Graph, x: Tensor) -> Tensor:
    return g.op("REVERSE_V2", [x, g.constant([0], np.int32)], x.shape, x.dtype)


def last_step(g: Graph, y: Tensor, direction: Direction) -> Tensor:
    """The state after the last step that was computed: at the front where time runs backwards."""
    time, batch, hidden = y.shape
    at = 0 if direction.reverse else time - 1
    return g.reshape(g.slice(y, [at, 0, 0], [1, batch, hidden]), (batch, hidden))


def packed(g: Graph, node: Node, sequences: list[Tensor], *states: list[Tensor]) -> list[Tensor]:
    """Y and the final states with their axis of directions, in the order that `layout` asks for."""
    batch_major = bool(node.integer("layout"))
    time, batch, hidden = sequences[0].shape
    y = g.concat([g.reshape(s, (time, 1, batch, hidden)) for s in sequences], 1)
    made = [g.transpose(y, (2, 0, 1, 3)) if batch_major else y]
    for parts in states:
        state = g.concat([g.reshape(p, (1, batch, hidden)) for p in parts], 0)
        made.append(g.transpose(state, (1, 0, 2)) if batch_major else state)
    return made
