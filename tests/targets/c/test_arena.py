"""The arena of whole programs, checked by simulation: who owns each byte when a kernel reads it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from sprue.targets.c.check import lowered
from sprue.targets.c.lower import Program
from sprue.targets.c.nodes import Read, Scratch, Write
from sprue.targets.c.rewrite import rewrite

from sprue.passes.quantize_static import QuantizeStatic
from sprue.passes.simplify import Simplify

from .models import chain
from .random_graphs import network


def simulate(program: Program) -> None:
    """Run the plan on a map byte -> tensor. Fails where a read finds another tensor's bytes.

    Tensors that are one by alias are told apart by nothing but their name, so they are joined first, from the
    graph alone: this shares no code with the planner.
    """
    same = aliases(program)
    owner = np.full(program.plan.bytes, -1)
    ids: dict[str, int] = {}

    def number(name: str) -> int:
        return ids.setdefault(same.get(name, name), len(ids))

    def place(name: str) -> slice | None:
        offset = program.offset(name)
        return None if offset is None else slice(offset, offset + program.values[name].bytes)

    for name in program.graph.inputs:
        where = place(name)
        assert where is not None
        owner[where] = number(name)
    for index, placed in enumerate(program.calls):
        reads = {a.name: place(a.name) for a in placed.call.arguments if isinstance(a, Read)}
        for name, where in reads.items():
            assert where is None or (owner[where] == number(name)).all(), f"{placed.node.name} reads {name}"
        for position, argument in enumerate(placed.call.arguments):
            if isinstance(argument, Scratch) and argument.bytes:
                start = program.scratch_offset(index, position)
                scratch = slice(start, start + argument.bytes)
                assert not any(w is not None and meet(w, scratch) for w in reads.values())
                owner[scratch] = -2
        for argument in placed.call.arguments:
            if isinstance(argument, Write):
                where = place(argument.name)
                assert where is not None
                assert -2 not in owner[where], "a result lies in the scratch memory of its own call"
                for name, read in reads.items():
                    if read is not None and meet(read, where) and name != argument.name:
                        pairs = {(a, same.get(b, b)) for a, b in placed.call.reuse}
                        assert (argument.name, same.get(name, name)) in pairs
                        assert read.start == where.start
                owner[where] = number(argument.name)
        owner[owner == -2] = -1
    for name in program.graph.outputs:
        where = place(name)
        assert where is None or (owner[where] == number(name)).all(), f"the output {name} was overwritten"


def meet(a: slice, b: slice) -> bool:
    return bool(max(a.start, b.start) < min(a.stop, b.stop))


def aliases(program: Program) -> dict[str, str]:
    """Results of nodes that no call writes: other names of their first input."""
    written = {a.name for c in program.calls for a in c.call.arguments if isinstance(a, Write)}
    found: dict[str, str] = {}
    for node in program.graph.nodes:
        for output in node.outputs:
            if output and output not in written:
                found[output] = found.get(node.inputs[0], node.inputs[0])
    return found


def program_of(model: ModelProto) -> Program:
    program, findings = lowered(model)
    assert program is not None, findings
    return program


@pytest.mark.parametrize("seed", range(40))
def test_no_tensor_of_a_random_network_is_overwritten_while_it_is_needed(seed: int) -> None:
    model, _ = network(seed)
    simulate(program_of(Simplify(batch=1).apply(model, {})))


@pytest.mark.parametrize("seed", range(36, 48))
def test_no_tensor_of_a_random_int8_network_is_overwritten_while_it_is_needed(seed: int) -> None:
    model, samples = network(seed)
    simulate(program_of(QuantizeStatic().apply(Simplify(batch=1).apply(model, {}), {"x": samples})))


def test_a_reshaped_tensor_lives_from_when_it_was_written_not_from_when_it_is_read() -> None:
    """sigmoid -> reshape; then other work; only then the reshaped tensor is read."""
    x = np.zeros((1, 64), np.float32)
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"], "a"),
        helper.make_node("Reshape", ["a", "square"], ["b"], "b"),
        helper.make_node("Exp", ["x"], ["c"], "c"),
        helper.make_node("Reshape", ["c", "square"], ["d"], "d"),
        helper.make_node("Transpose", ["d"], ["e"], "e", perm=[1, 0]),
        helper.make_node("MatMul", ["b", "e"], ["y"], "f"),
    ]
    square = {"square": np.array([8, 8])}
    simulate(program_of(chain(nodes, {"x": x}, square, "y", TensorProto.FLOAT)))


def test_int8_codes_leave_the_rest_of_their_float_inputs_place_to_others() -> None:
    rng = np.random.default_rng(0)
    samples = {"x": rng.standard_normal((4, 1, 32, 32)).astype(np.float32)}
    weights = {"w": rng.standard_normal((3, 1, 3, 3)).astype(np.float32)}
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1], strides=[2, 2])
    pool = helper.make_node("GlobalAveragePool", ["y"], ["z"], "pool")
    model = chain([node, pool], {"x": samples["x"][:1]}, weights, "z", TensorProto.FLOAT)
    program = program_of(QuantizeStatic().apply(model, samples))
    simulate(program)
    assert program.plan.bytes == 32 * 32 * 4, "the input is all that is ever needed at once"


def test_rewriting_keeps_the_border() -> None:
    from sprue.targets.c.read import read_graph

    model, _ = network(3)
    graph, _ = read_graph(Simplify(batch=1).apply(model, {}))
    assert rewrite(graph).inputs == graph.inputs
    assert rewrite(graph).outputs == graph.outputs
