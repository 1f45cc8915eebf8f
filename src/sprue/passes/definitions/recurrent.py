"""RNN step by step, and the layouts of GRU and LSTM that put the batch first."""

from __future__ import annotations

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer

MOST_STEPS = 256
"""A longer sequence is refused: its graph would be larger than its weights."""
FUNCTIONS = frozenset({"Tanh", "Relu", "Sigmoid", "Softsign", "Softplus"})


def rnn(w: Writer) -> None:
    """Inputs: x [time, batch, size], w [dirs, hidden, size], r, b, lengths, state [dirs, batch, hidden]."""
    if w.integer("layout", 0):
        batch_first(w)
        return
    directions = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[w.text("direction", "forward")]
    names = w.attributes.get("activations", ["Tanh"] * len(directions))
    assert isinstance(names, list)
    functions = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    if "clip" in w.attributes or not set(functions) <= FUNCTIONS or w.shape()[0] > MOST_STEPS:
        raise NotDefined
    steps, last = [], []
    for index, backwards in enumerate(directions):
        each = _direction(w, index, functions[index], backwards=bool(backwards))
        steps.append(each[0])
        last.append(each[1])
    time, batch, _ = w.shape()
    hidden = w.shape(1)[1]
    rows = [w.reshape(w.op("Concat", *direction, axis=0), [time, 1, batch, hidden]) for direction in steps]
    w.result(w.op("Concat", *rows, axis=1))
    finals = [w.reshape(f, [1, batch, hidden]) for f in last]
    w.result(w.op("Concat", *finals, axis=0), 1)


def _direction(w: Writer, index: int, function: str, *, backwards: bool) -> tuple[list[str], str]:
    """The state after each step, in the order of time, and the last state."""
    time, batch, size = w.shape()
    hidden = w.shape(1)[1]

    def of(position: int) -> str:
        return w.gather(w.x(position), index, 0)

    flat = w.reshape(w.x(), [time * batch, size])
    projected = w.op("MatMul", flat, w.transpose(of(1), [1, 0]))
    if w.has(3):
        both = w.reshape(of(3), [2, hidden])
        projected = w.op("Add", projected, w.reduce("ReduceSum", both, [0], keep=False))
    recurrent = w.transpose(of(2), [1, 0])
    state = of(5) if w.has(5) else w.like(np.zeros((batch, hidden)))
    lengths = w.reshape(w.x(4), [batch, 1]) if w.has(4) else ""
    zeros = w.like(np.zeros((batch, hidden)))
    made = [""] * time
    for t in reversed(range(time)) if backwards else range(time):
        row = w.slice(projected, 0, t * batch, (t + 1) * batch)
        new = w.op(function, w.op("Add", row, w.op("MatMul", state, recurrent)))
        if not lengths:
            made[t] = state = new
            continue
        goes = w.op("Greater", lengths, w.constant(t, w.dtype(4)))
        made[t] = w.op("Where", goes, new, zeros)  # beyond the end of a sequence the state stays
        state = w.op("Where", goes, new, state)
    return made, state


def batch_first(w: Writer) -> None:
    """layout = 1: x [batch, time, size], states [batch, dirs, hidden], y [batch, time, dirs, hidden]."""
    if not w.integer("layout", 0):
        raise NotDefined
    inputs = list(w.node.input)
    inputs[0] = w.transpose(inputs[0], [1, 0, 2])
    for position in range(5, min(len(inputs), 7)):
        if w.has(position):
            inputs[position] = w.transpose(inputs[position], [1, 0, 2])
    results = w.again(w.node.op_type, inputs, len(w.node.output), layout=None)
    for position, result in enumerate(results):
        w.result(w.transpose(result, [2, 0, 1, 3] if position == 0 else [1, 0, 2]), position)


DEFINITIONS = {
    "RNN": rnn,
}
FORMS = {
    "GRU": batch_first,
    "LSTM": batch_first,
}
