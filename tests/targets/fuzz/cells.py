"""Steps by which a random graph grows: recurrent cells, with all that they may be given."""

from __future__ import annotations

from typing import Any

import numpy as np

from .growing import Growing, Skip
from .steps import Step

CELLS = {"LSTM": (4, 3, 3), "GRU": (3, 2, 2), "RNN": (1, 1, 2)}
"""Cell -> gates, activations of one direction, outputs."""
ACTIVATIONS = ("Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign", "Elu", "LeakyRelu", "Softplus")


def recurrent(g: Growing) -> None:
    """Over [time, batch, features], as exporters write it: transposed before and behind."""
    x = g.pick(rank=(3,))
    steps, batch, size = g.values[x].shape
    if steps > 6 or size > 16:
        raise Skip
    op = g.one_of(("LSTM", "GRU", "LSTM", "GRU", "RNN"))
    gates, activations, outputs = CELLS[op]
    hidden = g.choose(1, 4)
    direction = g.one_of(("forward", "reverse", "bidirectional"))
    two = 2 if direction == "bidirectional" else 1
    inputs = [x, g.weight(two, gates * hidden, size), g.weight(two, gates * hidden, hidden)]
    inputs.append(g.weight(two, 2 * gates * hidden) if g.maybe() else "")
    lengths = np.random.default_rng(g.choose(0, 99)).integers(1, steps + 1, batch)
    inputs.append(g.constant(lengths, "int32") if g.maybe(6) else "")
    started = g.maybe(3)
    inputs.append(g.weight(two, batch, hidden) if started else "")
    if op == "LSTM":
        inputs.append(g.weight(two, batch, hidden) if started or g.maybe(6) else "")
        inputs.append(g.weight(two, 3 * hidden) if g.maybe(5) else "")
    while not inputs[-1]:
        inputs.pop()
    given: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if op == "GRU":
        given["linear_before_reset"] = g.choose(0, 1)
    if op == "LSTM" and g.maybe(6):
        given["input_forget"] = 1
    if g.maybe(5):
        given["activations"] = [g.one_of(ACTIVATIONS) for _ in range(two * activations)]
    if g.maybe(6):
        given["clip"] = g.one_of((0.5, 3.0))
    names = g.add(op, inputs, g.choose(1, outputs), **given)
    if direction != "bidirectional" and g.maybe():
        g.moved("Squeeze", [names[0], g.integers([1])])


def recurrent_over_features(g: Growing) -> None:
    (turned,) = g.moved("Transpose", [g.pick(rank=(3,))], perm=[1, 0, 2])
    if turned:
        recurrent(g)


STEPS: tuple[Step, ...] = (recurrent, recurrent_over_features)
