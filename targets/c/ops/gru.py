"""GRU in float32, one or both directions."""

from __future__ import annotations

import numpy as np

from ..lower import Effort
from ..nodes import Argument, Call, Flash, Graph, Node, Read, Scratch, Step, Unsupported, Write


def lower_gru(node: Node, graph: Graph, _effort: Effort) -> list[Step]:
    """X [seq, batch, input], W [dirs, 3*hidden, input], R [dirs, 3*hidden, hidden], B, -, h0."""
    _check(node)
    x, w = graph.value(node.inputs[0]), graph.value(node.inputs[1])
    seq, batch, width = x.shape
    directions, hidden = w.shape[0], w.shape[1] // 3
    if x.dtype != np.float32:
        raise Unsupported(f"GRU of {x.dtype} has no C kernel", "cast it to float32")
    reset_after = node.integer("linear_before_reset", 0)
    wanted = [position < len(node.outputs) and node.outputs[position] != "" for position in range(2)]
    calls: list[Step] = []
    for direction in range(directions):
        arguments: list[Argument] = [Read(node.inputs[0])]
        layouts = {}
        for position, letter, depth in ((1, "w", width), (2, "r", hidden)):
            argument, layouts[letter] = _matrix(node, graph, position, hidden, depth, direction)
            arguments.append(argument)
        arguments += [Read(node.inputs[p]) for p in (3, 5) if node.has(p)]
        arguments.append(Scratch(4 * hidden * (2 + 2 * batch)))
        arguments += [Write(o) for o in node.outputs if o]
        params = {
            "seq": seq, "batch": batch, "width": width, "hidden": hidden, "direction": direction,
            "directions": directions, **layouts, "reset_after": reset_after,
            "backward": node.text("direction", "forward") == "reverse" or direction == 1,
            "bias": node.has(3), "start_h": node.has(5), "all": wanted[0], "last_h": wanted[1],
        }  # fmt: skip
        calls.append(Call("gru.c.j2", params, tuple(arguments)))
    return calls


def _matrix(
    node: Node, graph: Graph, position: int, hidden: int, depth: int, direction: int
) -> tuple[Argument, dict[str, int]]:
    """The weights of one direction; constants are packed so that the three gates of a unit are neighbours."""
    stored = graph.constants.get(node.inputs[position])
    if stored is None:
        start = direction * 3 * hidden * depth
        return Read(node.inputs[position]), {
            "gate": hidden * depth,
            "unit": depth,
            "input": 1,
            "start": start,
        }
    packed = np.ascontiguousarray(stored[direction].reshape(3, hidden, depth).transpose(1, 2, 0))
    layout = {"gate": 1, "unit": 3 * depth, "input": 3, "start": 0}
    return Flash(packed, f"weights_{position}_{node.name}"), layout


def _check(node: Node) -> None:
    functions = node.attributes.get("activations")
    if isinstance(functions, list | tuple):
        names = [f.decode().lower() if isinstance(f, bytes) else str(f).lower() for f in functions]
        if names != ["sigmoid", "tanh"] * (len(names) // 2):
            raise Unsupported("its activations are not Sigmoid, Tanh", "use the default activations")
    node.ignore("hidden_size")
    for name, plain in (("clip", 0.0), ("layout", 0)):
        if node.attributes.get(name, plain) != plain:
            raise Unsupported(f"its attribute '{name}' is not supported", f"export the model without {name}")
    if node.has(4):
        raise Unsupported("sequence_lens is not supported", "pad the sequences and export without lengths")


OPERATORS = {"GRU": lower_gru}
