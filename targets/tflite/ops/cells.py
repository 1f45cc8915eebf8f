"""GRU, RNN and the LSTMs that the fused kernel lacks, written out step by step.

Every step is a few FULLY_CONNECTED and elementwise operations, so the file grows with the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..emit import Array, Tensor, Unsupported
from ..layout import Graph, Value
from ..registry import Node, lowers

MAX_STEPS = 256
"""More steps than this are refused: the graph would be larger than its weights."""
GATE_COUNT = {"LSTM": 4, "GRU": 3, "RNN": 1}
DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
ACTIVATIONS: dict[str, Callable[[Graph, Tensor], Tensor]] = {
    "sigmoid": lambda g, x: g.unary("LOGISTIC", x),
    "tanh": lambda g, x: g.unary("TANH", x),
    "relu": lambda g, x: g.unary("RELU", x),
}


@dataclass(frozen=True)
class Cell:
    """One direction of a node: per gate `w` [hidden, input], `r` [hidden, hidden], biases [hidden]."""

    kind: str
    w: list[Tensor]
    r: list[Tensor]
    wb: list[Tensor]
    rb: list[Tensor]
    peepholes: list[Tensor] | None
    activations: list[Callable[[Graph, Tensor], Tensor]]
    clip: float | None
    coupled: bool
    linear_before_reset: bool


@lowers("GRU", "RNN")
def recurrent(g: Graph, node: Node) -> list[Tensor]:
    return unrolled(g, node, node.op)


def unrolled(g: Graph, node: Node, kind: str) -> list[Tensor]:
    """X [time, batch, input] -> Y [time, directions, batch, hidden] and the final states."""
    from . import recurrent as shared

    value = node.input(0)
    if value.dtype != np.float32:
        raise Unsupported(f"{kind} of {value.dtype.name}", "cast to float32 before it")
    x = g.view(value, (1, 0, 2)) if node.integer("layout") else g.tensor(value)
    time, batch, _ = x.shape
    if time > MAX_STEPS:
        raise Unsupported(f"{kind} of {time} steps, written out; at most {MAX_STEPS}", "shorten the sequence")
    lengths = node.optional_constant(4, "the lengths of the sequences")
    if lengths is not None and (lengths != time).any():
        raise Unsupported("sequences of different lengths", "pad them and drop sequence_lens")
    hidden = node.input(2).shape[2]
    sequences, states, cells = [], [], []
    for direction in shared.directions(node):
        cell = _cell(g, node, kind, direction.index, hidden)
        start = [
            shared.initial_state(g, node.optional(i), direction.index, (batch, hidden))
            or g.constant(np.zeros((1 if g.free else batch, hidden), np.float32))
            for i in (5, 6)
        ]
        y, h, c = _run(g, cell, x, direction.reverse, start[0], start[1])
        sequences.append(y)
        states.append(h)
        cells.append(c)
    return shared.packed(g, node, sequences, states, *([cells] if kind == "LSTM" else []))


def _run(
    g: Graph, cell: Cell, x: Tensor, reverse: bool, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    time, batch, size = x.shape
    steps: list[Tensor] = []
    for t in reversed(range(time)) if reverse else range(time):
        part = g.reshape(g.slice(x, [t, 0, 0], [1, batch, size]), (batch, size))
        h, c = STEPS[cell.kind](g, cell, part, h, c)
        steps.append(g.reshape(h, (1, *h.shape)))
    return g.concat(steps[::-1] if reverse else steps, 0), h, c


def _gate(g: Graph, cell: Cell, i: int, x: Tensor, h: Tensor) -> Tensor:
    """x W' + Wb + h R' + Rb."""
    return g.add(g.fully_connected(x, cell.w[i], cell.wb[i]), g.fully_connected(h, cell.r[i], cell.rb[i]))


def _activated(g: Graph, cell: Cell, i: int, x: Tensor) -> Tensor:
    if cell.clip is not None:
        x = g.minimum(g.maximum(x, -cell.clip), cell.clip)
    return cell.activations[i](g, x)


def _lstm_step(g: Graph, cell: Cell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Gates i, o, f, c; the output gate's peephole sees the new cell state."""

    def gate(i: int, state: Tensor, hole: int) -> Tensor:
        made = _gate(g, cell, i, x, h)
        if cell.peepholes is not None:
            made = g.add(made, g.mul(cell.peepholes[hole], state))
        return _activated(g, cell, 0, made)

    enter = gate(0, c, 0)
    forget = g.sub(g.constant(1.0, np.float32), enter) if cell.coupled else gate(2, c, 2)
    fresh = _activated(g, cell, 1, _gate(g, cell, 3, x, h))
    c = g.add(g.mul(forget, c), g.mul(enter, fresh))
    leave = gate(1, c, 1)
    return g.mul(leave, cell.activations[2](g, c)), c


def _gru_step(g: Graph, cell: Cell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Gates z, r, h: H = (1 - z) * candidate + z * H."""
    update = _activated(g, cell, 0, _gate(g, cell, 0, x, h))
    reset = _activated(g, cell, 0, _gate(g, cell, 1, x, h))
    seen = g.fully_connected(x, cell.w[2], cell.wb[2])
    if cell.linear_before_reset:
        past = g.mul(reset, g.fully_connected(h, cell.r[2], cell.rb[2]))
    else:
        past = g.fully_connected(g.mul(reset, h), cell.r[2], cell.rb[2])
    candidate = _activated(g, cell, 1, g.add(seen, past))
    return g.add(candidate, g.mul(update, g.sub(h, candidate))), c


def _rnn_step(g: Graph, cell: Cell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return _activated(g, cell, 0, _gate(g, cell, 0, x, h)), c


STEPS = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN": _rnn_step}


def _cell(g: Graph, node: Node, kind: str, direction: int, hidden: int) -> Cell:
    gates = GATE_COUNT[kind]
    w = _split(g, node.input(1), direction, (gates, hidden, -1))
    r = _split(g, node.input(2), direction, (gates, hidden, hidden))
    bias = node.optional(3)
    zero = [g.constant(np.zeros(hidden, np.float32))] * (2 * gates)
    b = zero if bias is None else _split(g, bias, direction, (2 * gates, hidden))
    holes = node.optional(7) if kind == "LSTM" else None
    peepholes = None if holes is None else _split(g, holes, direction, (3, hidden))
    clip = node.real("clip") if "clip" in node.attributes else None
    return Cell(
        kind,
        w,
        r,
        b[:gates],
        b[gates:],
        peepholes,
        _activations(node, kind, direction),
        clip,
        bool(node.integer("input_forget")),
        bool(node.integer("linear_before_reset")),
    )


def _split(g: Graph, value: Value, direction: int, shape: tuple[int, ...]) -> list[Tensor]:
    """The gates of one direction, constants or slices of what is computed."""
    if value.const is not None:
        parts: Array = value.const[direction].reshape(shape)
        return [g.constant(part) for part in parts]
    size = [1, *value.shape[1:]]
    one = g.slice(g.tensor(value), [direction, *([0] * (value.rank - 1))], size)
    columns = () if value.rank == 2 else (value.shape[2],)
    whole = g.reshape(one, (value.shape[1], *columns))
    rows = value.shape[1] // shape[0]
    made = []
    for i in range(shape[0]):
        part = g.slice(whole, [i * rows, *([0] * len(columns))], [rows, *columns])
        made.append(part)
    return made


def _activations(node: Node, kind: str, direction: int) -> list[Callable[[Graph, Tensor], Tensor]]:
    each = len(DEFAULTS[kind])
    if "activation_alpha" in node.attributes or "activation_beta" in node.attributes:
        raise Unsupported("activations with alpha or beta", "use Sigmoid, Tanh or Relu")
    given = node.attributes.get("activations")
    names = DEFAULTS[kind] if given is None else [bytes(n).decode() for n in given][direction * each :][:each]  # type: ignore[attr-defined]  # strings
    unknown = [n for n in names if n.lower() not in ACTIVATIONS]
    if unknown:
        raise Unsupported(f"the activation {unknown[0]}", "use Sigmoid, Tanh or Relu")
    return [ACTIVATIONS[n.lower()] for n in names]
