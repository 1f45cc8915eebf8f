"""Steps by which a random graph grows: branches and loops whose course is known."""

from __future__ import annotations

from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from .growing import Growing, Skip
from .steps import Step

FLOAT = TensorProto.FLOAT


def _graph(name: str, nodes: list[NodeProto], inputs: list[str], outputs: list[str]) -> GraphProto:
    def border(names: list[str]) -> list[ValueInfoProto]:
        return [helper.make_tensor_value_info(n, FLOAT, None) for n in names]

    return helper.make_graph(nodes, name, border(inputs), border(outputs))


def branch(g: Growing) -> None:
    """Of a constant condition; its branches read tensors from around them."""
    x = g.pick()
    at = len(g.nodes)
    held = g.constant(g.random("float32", (1,)))
    one = helper.make_node("Mul", [x, held], [f"then_{at}"], f"then_mul_{at}")
    other = helper.make_node(g.one_of(("Neg", "Abs", "Tanh")), [x], [f"else_{at}"], f"else_{at}")
    g.add(
        "If", [g.constant(g.maybe(), "bool")],
        then_branch=_graph("then", [one], [], [f"then_{at}"]),
        else_branch=_graph("else", [other], [], [f"else_{at}"]),
    )  # fmt: skip


def loop(g: Growing) -> None:
    """A constant number of turns, each of which changes a tensor and keeps what it was."""
    x = g.pick()
    at = len(g.nodes)
    turns = g.choose(1, 3)
    step = g.constant(g.random("float32", (1,)))
    nodes = [
        helper.make_node("Cast", [f"i_{at}"], [f"turn_{at}"], f"turn_{at}", to=FLOAT),
        helper.make_node("Mul", [f"turn_{at}", step], [f"by_{at}"], f"by_{at}"),
        helper.make_node("Add", [f"in_{at}", f"by_{at}"], [f"out_{at}"], f"more_{at}"),
        helper.make_node("Tanh", [f"out_{at}"], [f"kept_{at}"], f"kept_{at}"),
        helper.make_node("Identity", [f"go_{at}"], [f"on_{at}"], f"on_{at}"),
    ]
    body = helper.make_graph(
        nodes,
        "body",
        [
            helper.make_tensor_value_info(f"i_{at}", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"go_{at}", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"in_{at}", FLOAT, g.values[x].shape),
        ],
        [
            helper.make_tensor_value_info(f"on_{at}", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"out_{at}", FLOAT, g.values[x].shape),
            helper.make_tensor_value_info(f"kept_{at}", FLOAT, g.values[x].shape),
        ],
    )
    g.add("Loop", [g.integers(turns), g.constant(True, "bool"), x], 2, body=body)


def scan(g: Growing) -> None:
    """A running sum along the first axis, forward or backward."""
    x = g.pick(rank=(1, 2, 3))
    at, shape = len(g.nodes), g.values[x].shape
    if shape[0] > 8:
        raise Skip
    start = g.constant(g.random("float32", shape[1:]))
    add = helper.make_node("Add", [f"sum_{at}", f"part_{at}"], [f"next_{at}"], f"next_{at}")
    same = helper.make_node("Sigmoid", [f"next_{at}"], [f"seen_{at}"], f"seen_{at}")
    body = helper.make_graph(
        [add, same],
        "body",
        [helper.make_tensor_value_info(f"{n}_{at}", FLOAT, shape[1:]) for n in ("sum", "part")],
        [helper.make_tensor_value_info(f"{n}_{at}", FLOAT, shape[1:]) for n in ("next", "seen")],
    )
    g.add(
        "Scan", [start, x], 2, body=body, num_scan_inputs=1,
        scan_input_directions=g.one_of((None, [1])), scan_output_directions=g.one_of((None, [1])),
    )  # fmt: skip


STEPS: tuple[Step, ...] = (branch, loop, scan)
