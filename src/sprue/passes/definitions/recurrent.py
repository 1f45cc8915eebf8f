"""RNN step by step, and forms of GRU and LSTM: the batch first, peepholes, sequence lengths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sprue.passes.definitions.writer import NotDefined, Writer

MOST_STEPS = 256
"""A longer sequence is refused: its graph would be larger than its weights."""
FUNCTIONS = frozenset({"Tanh", "Relu", "Sigmoid", "Softsign", "Softplus"})
Step = Callable[[str, list[str]], list[str]]
"""What the input adds to the gates [batch, gates * hidden], and the states -> the new ones, hidden first."""


def rnn(w: Writer) -> None:
    """Inputs: x [time, batch, size], w [dirs, hidden, size], r, b, lengths, state [dirs, batch, hidden]."""
    if w.integer("layout", 0):
        batch_first(w)
        return
    functions = _functions(w, ["Tanh"])

    def cell(index: int) -> Step:
        recurrent = w.transpose(w.gather(w.x(2), index, 0), [1, 0])

        def step(row: str, states: list[str]) -> list[str]:
            return [w.op(functions[index], w.op("Add", row, w.op("MatMul", states[0], recurrent)))]

        return step

    _unrolled(w, 1, [5], cell)


def lstm(w: Writer) -> None:
    """Gates in the order i, o, f, c; peepholes in the order i, o, f."""
    if w.integer("layout", 0):
        batch_first(w)
        return
    if _whole(w):
        whole_sequences(w)
        return
    if (not w.has(7) and not w.has(4)) or w.integer("input_forget", 0):
        raise NotDefined
    functions = _functions(w, ["Sigmoid", "Tanh", "Tanh"])
    hidden = w.shape(2)[2]

    def cell(index: int) -> Step:
        recurrent = w.transpose(w.gather(w.x(2), index, 0), [1, 0])
        peepholes = w.gather(w.x(7), index, 0) if w.has(7) else ""
        gate, new, out = functions[3 * index : 3 * index + 3]

        def through(state: str, value: str, which: int) -> str:
            if not peepholes:
                return value
            seen = w.slice(peepholes, 0, which * hidden, (which + 1) * hidden)
            return w.op("Add", value, w.op("Mul", seen, state))

        def step(row: str, states: list[str]) -> list[str]:
            before = states[1]
            gates = w.op("Add", row, w.op("MatMul", states[0], recurrent))
            i, o, f, c = (w.slice(gates, 1, k * hidden, (k + 1) * hidden) for k in range(4))
            enters = w.op("Mul", w.op(gate, through(before, i, 0)), w.op(new, c))
            stays = w.op("Mul", w.op(gate, through(before, f, 2)), before)
            inside = w.op("Add", stays, enters)
            return [w.op("Mul", w.op(gate, through(inside, o, 1)), w.op(out, inside)), inside]

        return step

    _unrolled(w, 4, [5, 6], cell)


def gru(w: Writer) -> None:
    if w.integer("layout", 0):
        batch_first(w)
    elif _whole(w):
        whole_sequences(w)
    else:
        raise NotDefined


def _functions(w: Writer, default: list[str]) -> list[str]:
    """The activations of all directions. Raises NotDefined for such as have parameters."""
    given = w.attributes.get("activations", default * len(_directions(w)))
    assert isinstance(given, list)
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in given]
    if (
        "clip" in w.attributes
        or not set(names) <= FUNCTIONS
        or len(names) != len(default) * len(_directions(w))
    ):
        raise NotDefined
    return names


def _directions(w: Writer) -> list[bool]:
    """Of each direction, whether it goes backwards."""
    known = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    return known[w.text("direction", "forward")]


def _unrolled(w: Writer, gates: int, initial: list[int], cell: Callable[[int], Step]) -> None:
    """All steps of all directions. `initial`: where the states at the start are among the inputs."""
    time, batch, _ = w.shape()
    hidden = w.shape(2)[2]
    if time > MOST_STEPS:
        raise NotDefined
    rows, finals = [], []
    for index, backwards in enumerate(_directions(w)):
        steps, last = _direction(w, index, backwards, gates, initial, cell(index))
        rows.append(w.reshape(w.op("Concat", *steps, axis=0), [time, 1, batch, hidden]))
        finals.append([w.reshape(state, [1, batch, hidden]) for state in last])
    w.result(w.op("Concat", *rows, axis=1))
    for position, states in enumerate(zip(*finals, strict=True), 1):
        w.result(w.op("Concat", *states, axis=0), position)


def _direction(
    w: Writer, index: int, backwards: bool, gates: int, initial: list[int], step: Step
) -> tuple[list[str], list[str]]:
    """The hidden state after each step, in the order of time, and the last states."""
    time, batch, size = w.shape()
    hidden = w.shape(2)[2]
    projected = w.op(
        "MatMul", w.reshape(w.x(), [time * batch, size]), w.transpose(w.gather(w.x(1), index, 0), [1, 0])
    )
    if w.has(3):
        both = w.reshape(w.gather(w.x(3), index, 0), [2, gates * hidden])
        projected = w.op("Add", projected, w.reduce("ReduceSum", both, [0], keep=False))
    zeros = w.like(np.zeros((batch, hidden)))
    states = [w.gather(w.x(p), index, 0) if w.has(p) else zeros for p in initial]
    lengths = w.reshape(w.x(4), [batch, 1]) if w.has(4) else ""
    made = [""] * time
    for t in reversed(range(time)) if backwards else range(time):
        new = step(w.slice(projected, 0, t * batch, (t + 1) * batch), states)
        made[t] = new[0]
        if lengths:  # beyond the end of a sequence the states stay
            goes = w.op("Greater", lengths, w.constant(t, w.dtype(4)))
            made[t] = w.op("Where", goes, new[0], zeros)
            new = [w.op("Where", goes, a, b) for a, b in zip(new, states, strict=True)]
        states = new
    return made, states


def batch_first(w: Writer) -> None:
    """layout = 1: x [batch, time, size], states [batch, dirs, hidden], y [batch, time, dirs, hidden]."""
    inputs = list(w.node.input)
    inputs[0] = w.transpose(inputs[0], [1, 0, 2])
    for position in range(5, min(len(inputs), 7)):
        if w.has(position):
            inputs[position] = w.transpose(inputs[position], [1, 0, 2])
    results = w.again(w.node.op_type, inputs, len(w.node.output), layout=None)
    for position, result in enumerate(results):
        w.result(w.transpose(result, [2, 0, 1, 3] if position == 0 else [1, 0, 2]), position)


def _whole(w: Writer) -> bool:
    """Whether there are sequence lengths, which are all that of the whole sequence."""
    return w.has(4) and w.x(4) in w.constants and bool((w.value(4) == w.shape()[0]).all())


def whole_sequences(w: Writer) -> None:
    """Such lengths say nothing."""
    inputs = [*w.node.input[:4], "", *w.node.input[5:]]
    for position, result in enumerate(w.again(w.node.op_type, inputs, len(w.node.output))):
        w.result(result, position)


DEFINITIONS = {"RNN": rnn}
FORMS = {"GRU": gru, "LSTM": lstm}
