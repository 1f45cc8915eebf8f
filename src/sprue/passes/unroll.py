"""Control flow whose course is known: Scan and Loop of a fixed number of steps, and If.

Like a function, the node becomes the nodes of its body, once for each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, helper, numpy_helper

from sprue.passes.fold import Array, Known, known
from sprue.passes.inline import renamed

MAX_STEPS = 256
"""A longer loop is refused: its graph would be larger than its weights."""


def unroll(
    node: NodeProto, opset: int, types: Mapping[str, Known], constants: Mapping[str, Array]
) -> list[NodeProto] | None:
    """The nodes that compute the same; None where the course depends on what is computed while it runs."""
    attributes = {a.name: a for a in node.attribute}
    prefix = f"{node.name or node.op_type}/{next(n for n in node.output if n)}"
    if node.op_type == "If":
        return _branch(node, opset, attributes, constants, prefix)
    if node.op_type == "Scan" and opset == 8:
        return _one_sample(node, types, prefix)
    if node.op_type == "Scan":
        return _scan(node, opset, attributes, types, prefix)
    if node.op_type == "Loop":
        return _loop(node, opset, attributes, constants, prefix)
    return None


def _branch(
    node: NodeProto,
    opset: int,
    attributes: Mapping[str, AttributeProto],
    constants: Mapping[str, Array],
    prefix: str,
) -> list[NodeProto] | None:
    """The branch that is taken; where that is known at run time only, both, if their results are alike."""
    then, other = attributes["then_branch"].g, attributes["else_branch"].g
    condition = constants.get(node.input[0])
    if condition is not None:
        made, results = _body(then if bool(condition.reshape(())) else other, {}, prefix)
        return made + [_copy(a, b) for a, b in zip(results, node.output, strict=True) if b]
    pairs = [(known(a.type), known(b.type)) for a, b in zip(then.output, other.output, strict=True)]
    if opset < 9 or any(a is None or a != b or not a[1] for a, b in pairs):
        return None  # Where would broadcast what is not alike
    made, chosen = _body(then, {}, f"{prefix}/then")
    more, rejected = _body(other, {}, f"{prefix}/else")
    return [
        *made,
        *more,
        *(
            helper.make_node("Where", [node.input[0], a, b], [name], f"{name}/choice")
            for a, b, name in zip(chosen, rejected, node.output, strict=True)
            if name
        ),
    ]


def _one_sample(node: NodeProto, types: Mapping[str, Known], prefix: str) -> list[NodeProto] | None:
    """Scan as in opset 8, where axis 0 is the batch: of one sample, without lengths or directions."""
    given = list(node.input[1:])
    if node.input[0] or any(n not in types or types[n][1][:1] != (1,) for n in given):
        return None
    inner = NodeProto()
    inner.CopyFrom(node)
    del inner.attribute[:]
    inner.attribute.extend(a for a in node.attribute if a.name in ("body", "num_scan_inputs"))
    if any(a.name == "directions" and any(a.ints) for a in node.attribute):
        return None
    inner.input[:] = [f"{prefix}/sample/{n}" for n in given]
    inner.output[:] = [f"{prefix}/sample/{n}" if n else "" for n in node.output]
    alone = {f"{prefix}/sample/{n}": (types[n][0], types[n][1][1:]) for n in given}
    attributes = {a.name: a for a in inner.attribute}
    steps = _scan(inner, 8, attributes, alone, prefix)
    if steps is None:
        return None
    split = [
        helper.make_node("Squeeze", [n], [f"{prefix}/sample/{n}"], f"{prefix}/squeeze/{n}", axes=[0])
        for n in dict.fromkeys(given)
    ]
    joined = [
        helper.make_node("Unsqueeze", [f"{prefix}/sample/{n}"], [n], f"{n}/unsqueeze", axes=[0])
        for n in node.output
        if n
    ]
    return [*split, *steps, *joined]


def _scan(
    node: NodeProto,
    opset: int,
    attributes: Mapping[str, AttributeProto],
    types: Mapping[str, Known],
    prefix: str,
) -> list[NodeProto] | None:
    """States, then scanned inputs, to states, then stacked outputs."""
    body, count = attributes["body"].g, attributes["num_scan_inputs"].i
    if len(body.input) != len(node.input):
        return None
    reverse, forward, axes, stack = (
        list(attributes[k].ints) if k in attributes else []
        for k in ("scan_input_directions", "scan_output_directions", "scan_input_axes", "scan_output_axes")
    )
    states, scanned = list(node.input[: len(node.input) - count]), list(node.input[len(node.input) - count :])
    if any(n not in types for n in scanned):
        return None
    axes = axes or [0] * count
    steps = types[scanned[0]][1][axes[0]]
    if steps > MAX_STEPS:
        return None
    made: list[NodeProto] = []
    outputs: list[list[str]] = [[] for _ in node.output[len(states) :]]
    for t in range(steps):
        here = f"{prefix}/{t}"
        parts = []
        for k, name in enumerate(scanned):
            at = steps - 1 - t if reverse and reverse[k] else t
            parts.append(_constant(made, np.array(at), f"{here}/at{k}"))
            made.append(helper.make_node("Gather", [name, parts[-1]], [f"{here}/in{k}"], axis=axes[k]))
            parts[-1] = f"{here}/in{k}"
        nodes, results = _body(
            body, dict(zip([v.name for v in body.input], states + parts, strict=True)), here
        )
        made += nodes
        states = results[: len(states)]
        for k, result in enumerate(results[len(states) :]):
            outputs[k].append(result)
    ordered = [p[::-1] if forward and forward[k] else p for k, p in enumerate(outputs)]
    return made + _results(node, states, ordered, stack or [0] * len(ordered), opset, prefix)


def _loop(
    node: NodeProto,
    opset: int,
    attributes: Mapping[str, AttributeProto],
    constants: Mapping[str, Array],
    prefix: str,
) -> list[NodeProto] | None:
    """A loop with a constant count whose body passes its condition on as it came."""
    body = attributes["body"].g
    given = node.input[1] if len(node.input) > 1 else ""
    enters = constants.get(given, np.array(True)) if not given or given in constants else None
    count = constants.get(node.input[0])
    if enters is None or not bool(enters.reshape(())) or count is None or not _always(body):
        return None
    if not 0 < int(count.reshape(())) <= MAX_STEPS:
        return None
    states = list(node.input[2:])
    made: list[NodeProto] = []
    outputs: list[list[str]] = [[] for _ in node.output[len(states) :]]
    for t in range(int(count.reshape(()))):
        here = f"{prefix}/{t}"
        step = _constant(made, np.array(t), f"{here}/step")
        go = _constant(made, np.array(True), f"{here}/go")
        inputs = dict(zip([v.name for v in body.input], [step, go, *states], strict=True))
        nodes, results = _body(body, inputs, here)
        made += nodes
        states = results[1 : 1 + len(states)]
        for k, result in enumerate(results[1 + len(states) :]):
            outputs[k].append(result)
    return made + _results(node, states, outputs, [0] * len(outputs), opset, prefix)


def _always(body: GraphProto) -> bool:
    """Whether the condition that the body returns is the one that it was given."""
    source = {o: n for n in body.node for o in n.output}
    name = body.output[0].name
    while name in source and source[name].op_type == "Identity":
        name = source[name].input[0]
    return bool(name == body.input[1].name)


def _body(graph: GraphProto, given: Mapping[str, str], prefix: str) -> tuple[list[NodeProto], list[str]]:
    """A copy of the graph's nodes under names of their own, and the names of its outputs."""
    own = [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output if o]
    names = {n: f"{prefix}/{n}" for n in own} | dict(given)
    made = [
        helper.make_node("Constant", [], [names[t.name]], f"{prefix}/{t.name}", value=t)
        for t in graph.initializer
    ]
    for index, inner in enumerate(graph.node):
        copy = renamed(inner, names)
        copy.name = f"{prefix}/{inner.name or inner.op_type}_{index}"
        made.append(copy)
    return made, [names.get(o.name, o.name) for o in graph.output]


def _constant(made: list[NodeProto], value: Array, name: str) -> str:
    made.append(helper.make_node("Constant", [], [name], name, value=numpy_helper.from_array(value)))
    return name


def _copy(source: str, name: str) -> NodeProto:
    return helper.make_node("Identity", [source], [name], f"{name}/copy")


def _results(
    node: NodeProto,
    states: Sequence[str],
    outputs: Sequence[list[str]],
    axes: Sequence[int],
    opset: int,
    prefix: str,
) -> list[NodeProto]:
    """The last states, then each further output: its parts of all steps, stacked along its axis."""
    made = [_copy(a, b) for a, b in zip(states, node.output, strict=False) if b]
    for k, name in enumerate(node.output[len(states) :]):
        made += _stacked(outputs[k], name, axes[k], opset, f"{prefix}/out{k}") if name else []
    return made


def _stacked(parts: list[str], name: str, axis: int, opset: int, prefix: str) -> list[NodeProto]:
    """[...] of each step -> one more axis for the steps. Since opset 13 Unsqueeze takes axes as an input."""
    made: list[NodeProto] = []
    places = [_constant(made, np.array([axis]), f"{prefix}/axis")] if opset >= 13 else []
    given: dict[str, Any] = {} if places else {"axes": [axis]}
    for i, part in enumerate(parts):
        made.append(
            helper.make_node("Unsqueeze", [part, *places], [f"{prefix}/{i}"], f"{prefix}/{i}", **given)
        )
    return [
        *made,
        helper.make_node("Concat", [f"{prefix}/{i}" for i in range(len(parts))], [name], name, axis=axis),
    ]
