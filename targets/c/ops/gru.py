"""GRU in float32, one or both directions, weights float32 or int8 in flash.

int8 weights are multiplied as floats, and the sum of an input vector's products is scaled.
"""

from __future__ import annotations

import numpy as np

from ..kernels import recurrent
from ..lower import Effort
from ..nodes import Argument, Call, Flash, Graph, Node, Read, Scratch, Step, Unsupported, Write


def lower_gru(node: Node, graph: Graph, _effort: Effort) -> list[Step]:
    """X [seq, batch, input], W [dirs, 3*hidden, input], R [dirs, 3*hidden, hidden], B, -, h0."""
    _check(node)
    x, w = graph.value(node.inputs[0]), graph.value(node.inputs[1])
    _, batch, width = x.shape
    directions, hidden = w.shape[0], w.shape[1] // 3
    if x.dtype != np.float32:
        raise Unsupported(f"GRU of {x.dtype} has no C kernel", "cast it to float32")
    if graph.lanes > 1 and recurrent.constant_weights(node, graph):
        return [_lanes(node, graph, direction) for direction in range(directions)]
    calls: list[Step] = []
    for direction in range(directions):
        arguments: list[Argument] = [Read(node.inputs[0])]
        layouts = {}
        for position, letter, depth in ((1, "w", width), (2, "r", hidden)):
            argument, layouts[letter] = _matrix(node, graph, position, hidden, depth, direction)
            arguments.append(argument)
            if layouts[letter]["scaled"]:
                scale = recurrent.gate_scales(node, graph, position, 3)[direction]
                arguments.append(Flash(scale, f"scale_{letter}_{node.name}"))
        arguments += [Read(node.inputs[p]) for p in (3, 5) if node.has(p)]
        arguments.append(Scratch(4 * hidden * (2 + 2 * batch)))
        arguments += [Write(o) for o in node.outputs if o]
        params = {**_sizes(node, graph, direction), **layouts, "bias": node.has(3)}
        calls.append(Call("gru.c.j2", params, tuple(arguments)))
    return calls


def _sizes(node: Node, graph: Graph, direction: int) -> dict[str, object]:
    seq, batch, width = graph.value(node.inputs[0]).shape
    directions, gates, _ = graph.value(node.inputs[1]).shape
    wanted = [position < len(node.outputs) and node.outputs[position] != "" for position in range(2)]
    return {
        "seq": seq, "batch": batch, "width": width, "hidden": gates // 3, "direction": direction,
        "directions": directions, "reset_after": node.integer("linear_before_reset", 0),
        "backward": node.text("direction", "forward") == "reverse" or direction == 1,
        "start_h": node.has(5), "all": wanted[0], "last_h": wanted[1],
    }  # fmt: skip


def _lanes(node: Node, graph: Graph, direction: int) -> Call:
    """Some units at once, whose weights lie side by side, gate by gate: see `recurrent.py`.

    Four biases of a unit: of update and reset those of inputs and states added up, of the new state both.
    """
    sizes = _sizes(node, graph, direction)
    hidden, batch = int(str(sizes["hidden"])), int(str(sizes["batch"]))
    units = recurrent.units_at_once(hidden, graph.lanes, 4)
    arguments: list[Argument] = [Read(node.inputs[0])]
    for position in recurrent.MATRICES:
        arguments += recurrent.matrix(node, graph, position, 3, units, direction)
    bias = np.zeros((4 * hidden, 1), np.float32)
    if node.has(3):
        of_inputs, of_states = graph.constants[node.inputs[3]][direction].reshape(2, 3, hidden)
        added = of_inputs[:2] + of_states[:2]
        bias = np.concatenate([added, of_inputs[2:], of_states[2:]]).reshape(-1, 1)
    arguments.append(Flash(recurrent.by_unit(bias, 4, units), f"bias_{node.name}"))
    if node.has(5):
        arguments.append(Read(node.inputs[5]))
    arguments.append(Scratch(4 * hidden * (2 + 2 * batch)))
    arguments += [Write(o) for o in node.outputs if o]
    return Call("gru_lanes.c.j2", {**sizes, **recurrent.kinds(node), "units": units}, tuple(arguments))


def _matrix(
    node: Node, graph: Graph, position: int, hidden: int, depth: int, direction: int
) -> tuple[Argument, dict[str, object]]:
    """The weights of one direction; constants are packed so that the three gates of a unit are neighbours."""
    stored = graph.constants.get(node.inputs[position])
    if stored is None:
        layout = {"type": "float", "gate": hidden * depth, "unit": depth, "input": 1,
                  "start": direction * 3 * hidden * depth, "scaled": False}  # fmt: skip
        return Read(node.inputs[position]), layout
    scaled = position in node.quants
    packed = np.ascontiguousarray(stored[direction].reshape(3, hidden, depth).transpose(1, 2, 0))
    layout = {"type": "int8_t" if scaled else "float", "gate": 1, "unit": 3 * depth, "input": 3,
              "start": 0, "scaled": scaled}  # fmt: skip
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


INTEGER = {"GRU": recurrent.accepts}
OPERATORS = {"GRU": lower_gru}
