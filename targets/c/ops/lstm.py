"""LSTM in float32, one or both directions, weights float32 or int8 in flash.

With int8 weights, inputs and hidden states are rounded to 16 bits at each step, with a step of their own
largest value / 32767, and multiplied as integers, two at a time: far finer than the rounding of the weights.

The four gates of a hidden unit are computed together, so that each input is loaded once for four products;
constant weights are packed in that order. The hidden state of the step before is read where it was written,
in Y; only the cell state (and, without Y, two hidden states) needs scratch memory.
"""

from __future__ import annotations

import numpy as np

from ..kernels import recurrent
from ..kernels.dot import cut, packed_pairs
from ..lower import Effort
from ..nodes import Argument, Call, Flash, Graph, Node, Read, Scratch, Step, Unsupported, Write

MOST_DEPTH = 500
"""Products of 8 and 16 bits whose sum surely fits 32."""


def lower_lstm(node: Node, graph: Graph, _effort: Effort) -> list[Step]:
    """X [seq, batch, input], W [dirs, 4*hidden, input], R [dirs, 4*hidden, hidden], B, -, h0, c0, -."""
    _check(node)
    node.ignore("hidden_size")
    x, w = graph.value(node.inputs[0]), graph.value(node.inputs[1])
    _, batch, width = x.shape
    directions, hidden = w.shape[0], w.shape[1] // 4
    if x.dtype != np.float32:
        raise Unsupported(f"LSTM of {x.dtype} has no C kernel", "cast it to float32")
    if graph.lanes > 1 and recurrent.constant_weights(node, graph):
        return [_lanes(node, graph, direction) for direction in range(directions)]
    calls: list[Step] = []
    for direction in range(directions):
        arguments: list[Argument] = [Read(node.inputs[0])]
        matrices = {}
        fast = _by_codes(node, width, hidden)
        for position, letter, depth in ((1, "w", width), (2, "r", hidden)):
            if fast:
                arguments += _words(node, graph, position, hidden, depth, direction)
                continue
            argument, layout = _matrix(node, graph, position, hidden, depth, direction)
            arguments.append(argument)
            matrices[letter] = layout
            if layout["scaled"]:
                scale = recurrent.gate_scales(node, graph, position, 4)[direction]
                arguments.append(Flash(scale, f"scale_{letter}_{node.name}"))
        arguments += [Read(node.inputs[p]) for p in (3, 5, 6) if node.has(p)]
        arguments.append(_state(node, batch * hidden))
        if fast:
            arguments.append(Scratch(2 * (cut(width).stride + cut(hidden).stride)))
        arguments += [Write(o) for o in node.outputs if o]
        params = {
            **_sizes(node, graph, direction), **matrices, "bias": node.has(3),
            "width_cut": cut(width), "hidden_cut": cut(hidden),
        }  # fmt: skip
        calls.append(Call("lstm_int8.c.j2" if fast else "lstm.c.j2", params, tuple(arguments)))
    return calls


def _by_codes(node: Node, width: int, hidden: int) -> bool:
    """Whether inputs are rounded to 16 bits: both matrices are int8, and no sum can leave 32 bits."""
    return set(node.quants) == {1, 2} and max(width, hidden) <= MOST_DEPTH


def _wanted(node: Node) -> list[bool]:
    """Which of all hidden states, the last one and the last cell state are outputs."""
    return [position < len(node.outputs) and node.outputs[position] != "" for position in range(3)]


def _state(node: Node, size: int) -> Scratch:
    """The cells; and two hidden states in turn where not all of them are an output."""
    return Scratch((size if _wanted(node)[0] else 3 * size) * 4)


def _sizes(node: Node, graph: Graph, direction: int) -> dict[str, object]:
    seq, batch, width = graph.value(node.inputs[0]).shape
    directions, gates, _ = graph.value(node.inputs[1]).shape
    wanted = _wanted(node)
    return {
        "seq": seq, "batch": batch, "width": width, "hidden": gates // 4, "direction": direction,
        "directions": directions,
        "backward": node.text("direction", "forward") == "reverse" or direction == 1,
        "start_h": node.has(5), "start_c": node.has(6),
        "all": wanted[0], "last_h": wanted[1], "last_c": wanted[2],
    }  # fmt: skip


def _lanes(node: Node, graph: Graph, direction: int) -> Call:
    """Some units at once, whose weights lie side by side, gate by gate: see `recurrent.py`."""
    sizes = _sizes(node, graph, direction)
    hidden, width = int(str(sizes["hidden"])), int(str(sizes["width"]))
    units = recurrent.units_at_once(hidden, graph.lanes, 4)
    kinds = recurrent.kinds(node, by_codes=_by_codes(node, width, hidden))
    arguments: list[Argument] = [Read(node.inputs[0])]
    for position in recurrent.MATRICES:
        arguments += recurrent.matrix(node, graph, position, 4, units, direction)
    bias = np.zeros((4 * hidden, 1), np.float32)
    if node.has(3):
        both = graph.constants[node.inputs[3]][direction].reshape(2, 4 * hidden, 1)
        bias = both[0] + both[1]
    arguments.append(Flash(recurrent.by_unit(bias, 4, units), f"bias_{node.name}"))
    arguments += [Read(node.inputs[p]) for p in (5, 6) if node.has(p)]
    arguments.append(_state(node, int(str(sizes["batch"])) * hidden))
    if "codes" in kinds.values():
        arguments.append(Scratch(2 * (width + hidden)))
    arguments += [Write(o) for o in node.outputs if o]
    return Call("lstm_lanes.c.j2", {**sizes, **kinds, "units": units}, tuple(arguments))


def _words(
    node: Node, graph: Graph, position: int, hidden: int, depth: int, direction: int
) -> list[Argument]:
    """The int8 weights of one direction, packed for the dual multiply in blocks of a unit's gates; scales."""
    stored = graph.constants[node.inputs[position]][direction].astype(np.int8)
    by_unit = stored.reshape(4, hidden, depth).transpose(1, 0, 2).reshape(1, 4 * hidden, depth)
    scales = recurrent.gate_scales(node, graph, position, 4)[direction]
    return [
        Flash(packed_pairs(by_unit, 4, cut(depth)), f"weights_{position}_{node.name}"),
        Flash(scales, f"scale_{position}_{node.name}"),
    ]


def _matrix(
    node: Node, graph: Graph, position: int, hidden: int, depth: int, direction: int
) -> tuple[Argument, dict[str, object]]:
    """The weights of one direction and how to step in them: by gate, by unit, by input."""
    name = node.inputs[position]
    stored = graph.constants.get(name)
    kind = graph.value(name).dtype
    quant = node.quants.get(position)
    if stored is None:
        layout = {"type": "float", "gate": hidden * depth, "unit": depth, "input": 1,
                  "start": direction * 4 * hidden * depth, "scaled": False}  # fmt: skip
        return Read(name), layout
    values = stored[direction]
    if quant is not None:
        values = (values.astype(np.int32) - quant.zero.reshape(-1)[0]).astype(np.int8)
    packed = np.ascontiguousarray(values.reshape(4, hidden, depth).transpose(1, 2, 0))
    layout = {"type": "int8_t" if quant is not None else "float", "gate": 1, "unit": 4 * depth, "input": 4,
              "start": 0, "scaled": quant is not None}  # fmt: skip
    return Flash(packed.astype(np.int8 if quant else kind), f"weights_{position}_{node.name}"), layout


def _check(node: Node) -> None:
    default = ["sigmoid", "tanh", "tanh"]
    functions = node.attributes.get("activations")
    if isinstance(functions, list | tuple):
        names = [f.decode().lower() if isinstance(f, bytes) else str(f).lower() for f in functions]
        if names != default * (len(names) // 3):
            raise Unsupported("its activations are not Sigmoid, Tanh, Tanh", "use the default activations")
    for name, plain in (("clip", 0.0), ("input_forget", 0), ("layout", 0)):
        if node.attributes.get(name, plain) != plain:
            raise Unsupported(f"its attribute '{name}' is not supported", f"export the model without {name}")
    if node.has(4):
        raise Unsupported("sequence_lens is not supported", "pad the sequences and export without lengths")
    if node.has(7):
        raise Unsupported("peepholes are not supported", "train the model without peepholes")


INTEGER = {"LSTM": recurrent.accepts}
OPERATORS = {"LSTM": lower_lstm}
